"""MoveNet, a small 2D estimator that has seen real people."""
