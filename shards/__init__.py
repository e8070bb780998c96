"""Frames and skeletons together, in Parquet files any reader opens."""
