"""The rendered dataset."""
