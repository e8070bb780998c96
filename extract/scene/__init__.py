"""Several rendered people in one street, as a video with true boxes: what a tracker has to find."""
