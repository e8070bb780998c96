import numpy as np
import pytest

from extract.fit.people import Clips, Sampling, render
from tests.conftest import ROOT

WHOLE = np.array([[1.0, 0, 0], [0, 1, 0]])


@pytest.fixture(scope="session")
def clips() -> Clips:
    """Four rendered clips, two per camera."""
    sampling = Sampling("test", 99, cameras=2, clips=4, frames=(3, 6))
    return render(sampling, WHOLE, (128, 256), workers=1)


@pytest.fixture(autouse=True)
def in_project(monkeypatch):
    monkeypatch.chdir(ROOT)


def repeated(clips: Clips, times: int) -> Clips:
    """Repeat clips until there is a batch of their frames."""
    names = ("crops", "xy_px", "visibility", "xyz", "root")
    arrays = [np.concatenate([getattr(clips, name)] * times) for name in names]
    lengths = np.diff(clips.ends, prepend=0)
    return Clips(*arrays, np.cumsum(np.tile(lengths, times)))
