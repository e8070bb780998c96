"""What finding joints and lifting them run on: chunks, Dask, models and their weights."""
