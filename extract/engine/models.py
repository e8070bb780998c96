"""Build MMPose models from a config and a file of weights, ready to run."""

import importlib
import os
import warnings
from collections.abc import Mapping
from contextlib import AbstractContextManager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pipeline import openmmlab
from pipeline.errors import PipelineError
from pipeline.files import tensors
from pipeline.files.reading import reading, reason

FUSED_TOLERANCE = 1e-3
PROCESSES_PER_GPU = 2


def import_mmpose() -> None:
    """Import mmpose 1.3.2 without its warnings, which ask nothing of our users."""
    openmmlab.repair()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        importlib.import_module("mmpose.models")
    # It opens this context in every forward pass of CSPNeXt; it does nothing on a CPU.
    warnings.filterwarnings("ignore", "`torch.cuda.amp.autocast", FutureWarning)


def read_config(path: Path) -> Any:
    """Read an MMPose config from a file; never one that came inside a checkpoint."""
    import_mmpose()
    from mmengine.config import Config

    with reading(path, "MMPose config", "Restore it: git checkout"):
        found = Config.fromfile(path)
        if not isinstance(found.get("model"), dict):
            raise ValueError("it describes no model")
        return found


def build(config: Any, checkpoint: Path | None, device: str) -> nn.Module:
    """Build the model of a config in evaluation mode.

    Args:
        config: What `read_config` returned.
        checkpoint: A `.safetensors` or `.pth` file; None leaves the random weights.
        device: Where the model runs.

    Raises:
        PipelineError: If the file does not hold the weights of this model, or mmpretrain is needed
            and not installed.
    """
    import_mmpose()
    from mmengine.registry import init_default_scope

    try:
        init_default_scope(config.get("default_scope", "mmpose"))
        model = _built(config)
    except PipelineError:
        raise
    except Exception as error:  # MMPose's classes do not check what they are given
        raise PipelineError(
            f"{config.filename or 'the config'} describes a model that cannot be built "
            f"({reason(error)}). Restore it: git checkout"
        ) from error
    if checkpoint is not None:
        _load(model, checkpoint)
    return model.to(device).eval()


def _built(config: Any) -> nn.Module:
    from mmpose.models import build_pose_estimator

    backbone = config.model.get("backbone", {}).get("type", "")
    if backbone.startswith("mmpretrain.") and not find_spec("mmpretrain"):
        raise PipelineError(f"{backbone} is in mmpretrain. Install it: docs/pose_models.md")
    for part in (config.model, config.model.get("backbone", {})):
        part.pop("init_cfg", None)  # It names a file to download for training.
    config.model.train_cfg = None
    return build_pose_estimator(_portable(config.model))


def _portable(node: Any) -> Any:
    """Make a config buildable here: usual batch normalisation, classes from mmpose's registry.

    The synchronised kind cannot run on a CPU. `_scope_: mmdet` names the registry CSPNeXt was
    copied from; mmpose has it too, and looking for mmdet prints a page of warnings.
    """
    if isinstance(node, dict):
        node.pop("_scope_", None)
        for key, value in node.items():
            node[key] = "BN" if key == "type" and value == "SyncBN" else _portable(value)
    elif isinstance(node, list | tuple):
        return type(node)(_portable(item) for item in node)
    return node


def _load(model: nn.Module, checkpoint: Path) -> None:
    state = read_state(checkpoint)
    fix = "Its config in conf/weights/ is that of another model"
    with reading(checkpoint, "file of weights for this model", fix):
        wrong = model.load_state_dict(state, strict=False)
    # PyTorch before 1.0 counted no batches, and nothing here needs how many there were.
    missing = [
        key
        for key in wrong.missing_keys
        if "data_preprocessor" not in key and not key.endswith("num_batches_tracked")
    ]
    if missing:
        raise PipelineError(
            f"{checkpoint} lacks {len(missing)} weights of the model, {missing[0]} first. "
            "Its config in conf/weights/ is that of another model"
        )


def read_state(checkpoint: Path) -> Mapping[str, torch.Tensor]:
    """Read named tensors from a file without running any code in it.

    Raises:
        PipelineError: If it is damaged or holds something else.
    """
    fix = f"Run: dvc repro -f weights@{checkpoint.parent.name}"
    if checkpoint.suffix == ".safetensors":
        return tensors.read_safetensors(checkpoint, fix)[0]
    openmmlab.safe_loading()
    return tensors.states(tensors.read_pickle(checkpoint, fix), checkpoint, fix)


def fuse_batch_norm(module: nn.Module) -> None:
    """Fold each batch normalisation into the convolution before it, in place."""
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    before: tuple[str, nn.Module] | None = None
    for name, child in list(module.named_children()):
        if isinstance(child, nn.modules.batchnorm._BatchNorm) and before:
            conv_name, conv = before
            transposed = isinstance(conv, nn.ConvTranspose1d | nn.ConvTranspose2d)
            module._modules[conv_name] = fuse_conv_bn_eval(conv, child, transposed)
            module._modules[name] = nn.Identity()
            before = None
        elif isinstance(child, nn.modules.conv._ConvNd):
            before = name, child
        else:
            before = None
            fuse_batch_norm(child)


def fuse_if_equal(model: nn.Module, example: torch.Tensor, forward: Any) -> nn.Module:
    """Return the model with batch normalisation folded in, or as it was if its output changed.

    The order of children need not be that of the forward pass, so the result is checked: where the
    model is, which should be a CPU, as TF32 differs by more than the tolerance.
    """
    import copy

    fused = copy.deepcopy(model)
    fuse_batch_norm(fused)
    with torch.inference_mode():
        pairs = zip(
            _tensors(forward(model, example)), _tensors(forward(fused, example)), strict=True
        )
        for old, new in pairs:
            if (old - new).abs().max() > FUSED_TOLERANCE * old.abs().max().clamp(min=1.0):
                return model
    return fused


def _tensors(output: Any) -> tuple[torch.Tensor, ...]:
    return output if isinstance(output, tuple) else (output,)


def pick_device(device: str, rank: int = 0) -> str:
    """Resolve `auto`: the `rank`-th GPU, counting round, or the CPU where there is none."""
    if device != "auto":
        return device
    gpus = torch.cuda.device_count()
    return f"cuda:{rank % gpus}" if gpus else "cpu"


def gpu_processes(device: str) -> int:
    """Return how many processes extraction starts on the GPUs of `device`, 0 where it has none.

    One alone leaves its GPU waiting while it reads frames and decodes joints.
    """
    gpus = torch.cuda.device_count() if device == "auto" else device.startswith("cuda")
    return gpus * PROCESSES_PER_GPU


def is_out_of_memory(error: RuntimeError) -> bool:
    """Return whether a GPU lacked memory, as torch says it, or cuDNN, or cuBLAS."""
    return isinstance(error, torch.cuda.OutOfMemoryError) or any(
        said in str(error) for said in ("ALLOC_FAILED", "out of memory")
    )


def fast_bfloat16(device: str) -> bool:
    """Return whether the device multiplies bfloat16 in hardware."""
    if device.startswith("cuda"):
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.backends.mkldnn.is_available() and torch.cpu._is_avx512_bf16_supported()


def autocast(device: str, precision: str) -> AbstractContextManager[Any]:
    """Return the context of a forward pass in `float32` or `bfloat16`."""
    kind = device.partition(":")[0]
    return torch.autocast(kind, torch.bfloat16, enabled=precision == "bfloat16")


def set_threads(threads: int) -> None:
    """Let torch use this many CPU threads in this process."""
    torch.set_num_threads(threads)


def keep_memory() -> None:
    """Make glibc keep freed memory: giving it back between batches costs a CPU a good part of it.

    One arena, because those of threads other than the first cannot hold a large batch.
    """
    import ctypes

    if os.name != "posix":
        return
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        m_trim_threshold, m_mmap_threshold, m_arena_max, largest = -1, -3, -8, 2**31 - 1
        libc.mallopt(m_mmap_threshold, largest)
        libc.mallopt(m_trim_threshold, largest)
        libc.mallopt(m_arena_max, 1)
