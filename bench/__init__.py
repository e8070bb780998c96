"""Measured ratios against what a user would run instead."""
