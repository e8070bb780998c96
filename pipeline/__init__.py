"""What all stages share: parameters, configuration, paths, joints, console, errors."""
