"""From datasets on disk to a tracklet index and skeletons."""
