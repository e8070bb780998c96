"""Weights so small that frames cost nothing, and a scheduler in this process: of extraction."""

from tests.extract.conftest import scheduler, tiny_weights

__all__ = ["scheduler", "tiny_weights"]
