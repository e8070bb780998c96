"""3D joints of every frame."""
