"""From a trained model to features, scores and pictures."""
