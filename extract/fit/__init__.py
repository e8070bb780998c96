"""Fitting the walkers' own pose models."""
