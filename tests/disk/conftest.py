"""A small project in which every stage has run, for all tests of disks."""

import os

import pytest

from tests.disk.project import build
from tests.extract.conftest import scheduler, tiny_weights

__all__ = ["scheduler", "tiny_weights"]


@pytest.fixture(autouse=True, scope="package")
def without_waiting_for_the_disk():
    """Nothing is pulled out here, and a busy disk takes a second for each file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="package")
def built(tmp_path_factory, tiny_weights, scheduler):
    return build(tmp_path_factory.mktemp("built"), tiny_weights, scheduler)
