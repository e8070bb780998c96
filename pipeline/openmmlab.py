"""Make mmpose 1.3.2 importable beside today's packages, and its checkpoints safe to load.

Call `repair()` before the first `import mmpose`. Each repair steps aside where the real package can
be imported; tried with mmengine 0.10.7, mmcv-lite 2.2.0, numpy 2.4, torch 2.15.
"""

import importlib
import importlib.machinery
import importlib.util
import os
import sys
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any, Union

from pipeline.errors import PipelineError


def _add(name: str, **attributes: object) -> ModuleType:
    module = ModuleType(name)
    module.__spec__ = importlib.machinery.ModuleSpec(name, None)
    module.__path__ = []
    module.__dict__.update(attributes)
    sys.modules[name] = module
    parent, _, child = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], child, module)
    return module


def _missing(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is None
    except (ImportError, ValueError):
        return True


def _xtcocotools() -> bool:
    """Stand pycocotools in: xtcocotools' wheels are for numpy 1. Goes when mmpose drops it."""
    try:
        importlib.import_module("xtcocotools.coco")
        return False
    except (ImportError, ValueError):
        for name in [name for name in sys.modules if name.startswith("xtcocotools")]:
            del sys.modules[name]
    for part in ("", ".coco", ".cocoeval", ".mask"):
        sys.modules[f"xtcocotools{part}"] = importlib.import_module(f"pycocotools{part}")
    return True


def _mmcv_ext() -> bool:
    """Stub mmcv's compiled operators: edpose_head imports them, no model of ours runs them.

    Goes when mmcv-lite's `mmcv.ops` can be imported.
    """
    if not _missing("mmcv._ext"):
        return False
    importlib.import_module("mmcv")

    def operator(name: str) -> Callable[..., Any]:
        if name.startswith("__"):
            raise AttributeError(name)

        def absent(*args: object, **kwargs: object) -> None:
            raise RuntimeError(f"mmcv operator {name} needs the full mmcv, which is not installed")

        return absent

    _add("mmcv._ext", __getattr__=operator)
    return True


def _mmdet() -> bool:
    """Give rtmo_head its two imports from mmdet. Goes when mmpose imports it lazily."""
    if not _missing("mmdet"):
        return False
    from mmengine.config import ConfigDict

    def reduce_mean(*args: object) -> None:
        raise RuntimeError("training RTMO needs mmdet, which is not installed")

    _add("mmdet")
    _add("mmdet.utils", ConfigType=Union[ConfigDict, dict], reduce_mean=reduce_mean)  # noqa: UP007
    return True


REPAIRS = (_xtcocotools, _mmcv_ext, _mmdet)


def repair() -> list[str]:
    """Apply every repair that this environment needs; calling again changes nothing.

    Returns:
        What was repaired, for `pipeline.doctor`.
    """
    done = []
    with warnings.catch_warnings():
        # setuptools 80 announces that pkg_resources, which mmengine imports, will go in 82.
        warnings.simplefilter("ignore")
        for one in REPAIRS:
            if one():
                done.append((one.__doc__ or "").partition(":")[0].partition(".")[0])
        importlib.import_module("mmengine.runner")
    return done


def safe_loading() -> None:
    """Make MMEngine load every checkpoint with `weights_only=True`.

    Files of MMPose's model zoo keep numpy arrays in `meta.dataset_meta` under the module names of
    numpy 1, so exactly those types are allowed beside tensors.

    Raises:
        PipelineError: If the environment switches safe loading off for the whole process.
    """
    if os.environ.get("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"):
        raise PipelineError(
            "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD is set, so a checkpoint could run code. Unset it"
        )
    import numpy as np
    import torch
    from mmengine.runner.checkpoint import CheckpointLoader
    from numpy._core import multiarray

    torch.serialization.add_safe_globals(
        [
            (multiarray._reconstruct, "numpy.core.multiarray._reconstruct"),
            (multiarray.scalar, "numpy.core.multiarray.scalar"),
            multiarray._reconstruct,
            multiarray.scalar,
            np.ndarray,
            np.dtype,
            *{type(np.dtype(code)) for code in "?bBhHiIlLqQefdUS"},
        ]
    )

    def load(filename: str, map_location: Any = None, **_: object) -> Any:
        return torch.load(filename, map_location=map_location, weights_only=True)

    CheckpointLoader.register_scheme(prefixes="", loader=load, force=True)
