"""Frames and joints together in Parquet."""
