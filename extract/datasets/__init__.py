"""Parsers, one dataset a file: its split files become tracklets."""
