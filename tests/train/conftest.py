from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)
    torch.manual_seed(0)


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
