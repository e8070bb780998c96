"""A trained model as a folder to take away."""
