"""Scores under each dataset's protocol."""
