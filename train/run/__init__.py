"""What a training run consists of, around the model."""
