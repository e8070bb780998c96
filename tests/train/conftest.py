import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.stages import make
from tests.train.tiny import rows, write_project


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a project in which stage 1 has run: to be copied, not changed."""
    folder = write_project(tmp_path_factory.mktemp("trained"), rows({"train": [1, 2, 5, 8]}))
    with contextlib.chdir(folder):
        make("stage1", "tiny")
    return folder


@pytest.fixture
def after_stage1(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of it, which is the current folder."""
    monkeypatch.chdir(tmp_path)
    return shutil.copytree(trained, tmp_path, dirs_exist_ok=True)


class Golden(NamedTuple):
    inputs: dict[str, Tensor]
    params: dict[str, Tensor]
    outputs: dict[str, Tensor]


@pytest.fixture(scope="session")
def golden(golden_dir: Path) -> Callable[[str], Golden]:
    """Read what the reference code computed for one part."""

    def read(name: str) -> Golden:
        tensors = load_file(golden_dir / f"{name}.safetensors")
        return Golden(
            *(
                {key.removeprefix(kind): x for key, x in tensors.items() if key.startswith(kind)}
                for kind in ("in.", "param.", "out.")
            )
        )

    return read


@pytest.fixture(scope="session")
def own(golden_dir: Path) -> Callable[[str], dict[str, Tensor]]:
    """Read what the reference lacks or gets wrong: numbers by the definition, made apart."""

    def read(name: str) -> dict[str, Tensor]:
        tensors = load_file(golden_dir / f"{name}.safetensors")
        return {key[4:]: value for key, value in tensors.items() if key.startswith("own.")}

    return read


@pytest.fixture(scope="session")
def agree() -> Callable[..., None]:
    """Compare with the reference, relative to its largest number."""

    def check(ours: Tensor, theirs: Tensor, relative: float = 1e-5) -> None:
        assert ours.squeeze().shape == theirs.squeeze().shape
        error = (ours.squeeze() - theirs.squeeze()).abs().max() / theirs.abs().max()
        assert error <= relative

    return check
