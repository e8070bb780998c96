"""Encoders, and what is put into them or in front of them."""
