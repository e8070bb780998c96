"""2D joints of every frame."""
