"""From videos to a dataset: boxes of people from any tracker, or found here, become crops."""
