"""Which devices and processes a run uses."""

import os
from collections.abc import Iterable
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import nn

from pipeline import console
from pipeline.errors import PipelineError

T = TypeVar("T")
# Longer than any step of one process that others wait for; who waits longer waits for a dead one.
PATIENCE = timedelta(minutes=30)
# What cuBLAS needs to add in one order.
WORKSPACE = ":4096:8"


def choose_device(wanted: str, precision: str = "float32", deterministic: bool = False) -> None:
    """Hide the GPUs that were not asked for, and join the processes that torchrun started.

    Args:
        wanted: `runtime.device`.
        precision: Of training.
        deterministic: Give the same bytes again on one type of GPU, and in float32 all its digits.

    Raises:
        PipelineError: If the wanted GPU is not there, or what a CPU has no arithmetic for is asked.
    """
    if wanted == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    elif wanted.startswith("cuda") and not torch.cuda.is_available():
        raise PipelineError(f"runtime.device is {wanted}, but no GPU is usable. Set it to auto")
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", WORKSPACE)
    torch.use_deterministic_algorithms(deterministic)
    has_gpu = torch.cuda.is_available()
    if precision == "float16" and not has_gpu:
        raise PipelineError(
            "precision: float16 needs a GPU, and none is used. Set it to bfloat16 or float32"
        )
    if has_gpu:
        torch.set_float32_matmul_precision("highest" if deterministic else "high")
        torch.backends.cudnn.allow_tf32 = not deterministic
        torch.backends.cudnn.benchmark = not deterministic
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", wanted.partition(":")[2] or 0)))
    if world() > 1 and not dist.is_initialized():
        # MMEngine's own start-up needs a GPU, so it finds the group made.
        dist.init_process_group("nccl" if has_gpu else "gloo", timeout=PATIENCE)
        console.set_quiet(dist.get_rank() > 0)


def device() -> str:
    """Return where models run: on the GPU that `choose_device` left, or on the CPU."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def bare(model: nn.Module) -> nn.Module:
    """Return a model without what distributes it."""
    return getattr(model, "module", model)


def world() -> int:
    """Return the number of processes that torchrun started."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def share(items: Iterable[T]) -> list[T]:
    """Return every item whose turn this process is; all of them where it is alone."""
    return list(items)[dist.get_rank() :: world()] if world() > 1 else list(items)


def wait_for_all() -> bool:
    """Wait until all processes are here; return whether this is the first of them."""
    if world() > 1:
        dist.barrier()
    return world() == 1 or dist.get_rank() == 0


def runner_settings() -> dict[str, object]:
    """Return what MMEngine's Runner should know about the processes."""
    has_gpu = torch.cuda.is_available()
    return {
        "launcher": "pytorch" if world() > 1 else "none",
        # Batch norms of the CPU cannot exchange statistics.
        "sync_bn": "torch" if world() > 1 and has_gpu else None,
        "model_wrapper_cfg": None
        if has_gpu
        else {"type": "MMDistributedDataParallel", "device_ids": None},
    }
