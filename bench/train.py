"""Count and measure a training step at the size of the paper, and rewrite docs/performance.md.

What a GPU would do is counted under fake tensors, which have shapes and no values; what this
machine does is measured on one thread.

Run it:   python -m bench.train
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from bench.measure import machine, rewrite
from bench.syncs import Syncs, saved_bytes, without_values
from pipeline import console
from pipeline.cli import run
from train.registry import MODELS

RECIPE, ENCODER, CLASSES = Path("conf/recipe/paper.yaml"), "clip_vit_b16", 625
FRAMES, SIZE = 8, (256, 128)
CLIPS = {"stage1": 64, "stage2": 16}
STEP_CLIPS = 4


def model_of(stage: str) -> nn.Module:
    """Return the model of a stage as the paper's recipe builds it, with random weights."""
    from pipeline.params.config import load
    from train.run.compose import compose

    params = load((), RECIPE)
    config = compose(stage, params, ENCODER, "csip" if stage == "stage2" else None)["model"]
    if stage == "stage2":
        config["classes"] = CLASSES
    else:
        config["freeze_visual"] = True
    model = MODELS.build(config)
    if stage == "stage2":
        bank = torch.randn(CLASSES, model.visual.out_dim)
        model.set_prototypes(bank, bank.flip(0))
    return model.train()


def batch_of(stage: str, clips: int) -> tuple[dict[str, Tensor], Tensor]:
    """Return a random batch as the stage's data set gives it to the model."""
    inputs = {
        "xyz": torch.randn(clips, FRAMES, 17, 3),
        "mask": torch.ones(clips, FRAMES, dtype=torch.bool),
        "camids": torch.zeros(clips, dtype=torch.int64),
    }
    if stage == "stage1":
        # The frozen encoder's features come out of a file.
        inputs["visual"] = torch.randn(clips, 512)
    else:
        inputs["frames"] = torch.randn(clips, FRAMES, 3, *SIZE)
    return inputs, torch.arange(clips) // 2


def loss_of(model: nn.Module, batch: tuple[dict[str, Tensor], Tensor]) -> Tensor:
    """Return the sum of the terms of the loss."""
    terms = model(*batch, mode="loss")
    return sum(value for name, value in terms.items() if name.startswith("loss"))


def adam(model: nn.Module) -> torch.optim.Adam:
    """Return the optimizer as it is on a GPU: one kernel for all weights."""
    trained = [one for one in model.parameters() if one.requires_grad]
    return torch.optim.Adam(trained, lr=1e-6, fused=True)


def counted(stage: str) -> dict[str, float]:
    """Return parameters, FLOPs, saved bytes and waits of a step at the paper's size."""
    mode = FakeTensorMode()
    model = without_values(model_of(stage), mode)
    own = {one.untyped_storage()._cdata for one in model.parameters()}
    with mode, Syncs() as syncs, FlopCounterMode(display=False) as flops:
        batch, optimizer = batch_of(stage, CLIPS[stage]), adam(model)
        with saved_bytes(own) as saved:
            loss = loss_of(model, batch)
        kept = saved()
        loss.backward()
        optimizer.step()
    return {
        "parameters": sum(one.numel() for one in model.parameters()) / 1e6,
        "trained": sum(one.numel() for one in model.parameters() if one.requires_grad) / 1e6,
        "TFLOP": flops.get_total_flops() / 1e12,
        "saved GB": kept / 1e9,
        "waits": sum(syncs.found.values()),
    }


def temporal_flops() -> dict[str, float]:
    """Return the GFLOP of the temporal module's two paths for a batch, alone and together."""
    clips = CLIPS["stage2"]
    mode, found = FakeTensorMode(), {}
    module = without_values(model_of("stage2"), mode).temporal
    with mode, torch.no_grad():
        visual = torch.randn(clips, FRAMES, 129, 768)
        skeleton = torch.randn(clips, FRAMES, 18, 512)
        ways = {
            "without skeletons": {},
            "with skeletons": {"skeleton": skeleton},
            "both at once": {"skeleton": skeleton, "both": True},
        }
        for name, given in ways.items():
            with FlopCounterMode(display=False) as flops:
                module(visual, **given)
            found[name] = flops.get_total_flops() / 1e9
    return found


def graph_breaks() -> int:
    """Return how often the four compiled parts fall back to Python."""
    model = model_of("stage2")
    inputs = {
        "visual": (torch.randn(2, 3, *SIZE), torch.zeros(2, dtype=torch.int64)),
        "skeleton": (torch.randn(1, FRAMES, 17, 3), torch.ones(1, FRAMES, dtype=torch.bool)),
        "updater": (torch.randn(1, 9, 512), torch.randn(1, 20, 512)),
        "temporal": (torch.randn(1, 2, 129, 768), torch.randn(1, 2, 18, 512), None, True),
    }
    breaks = 0
    for name, given in inputs.items():
        torch._dynamo.reset()
        breaks += torch._dynamo.explain(getattr(model, name))(*given).graph_break_count
    return breaks


def checkpoints() -> dict[str, tuple[float, float]]:
    """Return gigabytes and seconds of a checkpoint of each stage, with the optimizer's means."""
    from train.run.checkpoints import frozen_parts

    found = {}
    for stage in ("stage1", "stage2"):
        model = model_of(stage)
        frozen = tuple(f"{name}." for name in frozen_parts(model))
        state = {n: x for n, x in model.state_dict().items() if not n.startswith(frozen)}
        trained = [one for one in model.parameters() if one.requires_grad]
        means = [torch.zeros_like(one) for one in trained for _ in range(2)]
        with tempfile.TemporaryDirectory(dir=".") as folder:
            file, began = Path(folder) / "checkpoint.pth", time.perf_counter()
            torch.save({"state_dict": state, "optimizer": means}, file)
            found[stage] = file.stat().st_size / 1e9, time.perf_counter() - began
    return found


def pass_speed() -> dict[str, float]:
    """Return frames per CPU second of the pass that makes prototypes, by precision."""
    from extract.engine.models import fast_bfloat16

    model = model_of("stage2").eval()
    frames, found = torch.randn(1, FRAMES, 3, *SIZE), {}
    for dtype in (torch.float32, torch.bfloat16) if fast_bfloat16("cpu") else (torch.float32,):
        with torch.no_grad(), torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            model.frame_tokens({"frames": frames})
            began = time.process_time()
            model.frame_tokens({"frames": frames})
            found[str(dtype).removeprefix("torch.")] = FRAMES / (time.process_time() - began)
    return found


def passes() -> float:
    """Return how often `evaluate.embed` decodes a clip for the three that describe it."""
    from train.describe import described, together

    class Counting(torch.utils.data.Dataset):
        loaded = 0

        def __len__(self) -> int:
            return 64

        def __getitem__(self, index: int) -> dict[str, Any]:
            Counting.loaded += 1
            return {"inputs": {"camids": torch.tensor(0)}, "labels": index}

    ways = [lambda batch, name=name: {name: batch["labels"][:, None].numpy()} for name in "abc"]
    chunks = [range(32), range(32, 64)]
    list(described(Counting(), together(ways), 0, chunks))
    # One more was looked at, for its size.
    return round(Counting.loaded / 64, 1)


def step() -> dict[str, float]:
    """Return CPU seconds and peak memory of one step of stage 2: float32, one thread, 4 clips."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model, batch = model_of("stage2"), batch_of("stage2", STEP_CLIPS)
    optimizer = adam(model)
    before, times = _peak_gb(), [time.process_time()]
    loss = loss_of(model, batch)
    times.append(time.process_time())
    loss.backward()
    times.append(time.process_time())
    optimizer.step()
    times.append(time.process_time())
    names = ("forward", "backward", "update")
    found = {name: times[i + 1] - times[i] for i, name in enumerate(names)}
    return found | {"GB": _peak_gb() - before}


def _peak_gb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def _step_alone() -> dict[str, float]:
    """Return what `step` measures in a process of its own, whose memory nothing else has filled."""
    code = "import json; from bench.train import step; print(json.dumps(step()))"
    env = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    done.check_returncode()
    return json.loads(done.stdout.splitlines()[-1])


def rows() -> list[tuple[str, str]]:
    """Return what is measured, and how much it is."""
    found: list[tuple[str, str]] = []
    for stage in ("stage1", "stage2"):
        own, name = counted(stage), f"{stage}, {CLIPS[stage]} clips"
        found += [
            (f"{name}: parameters", f"{own['parameters']:.1f} M, {own['trained']:.1f} M trained"),
            (f"{name}: forward and backward", f"{own['TFLOP']:.2f} TFLOP"),
            (f"{name}: kept for backward, float32", f"{own['saved GB']:.1f} GB"),
            (f"{name}: waits for the device in a step", f"{own['waits']}"),
        ]
    found += [(f"SGTM {name}, forward", f"{n:.0f} GFLOP") for name, n in temporal_flops().items()]
    found.append(("graph breaks of visual, skeleton, updater, temporal", f"{graph_breaks()}"))
    found.append(("times that embed decodes a clip", f"{passes():g}"))
    found += [
        (f"{stage}: a checkpoint", f"{size:.2f} GB, {seconds:.1f} s")
        for stage, (size, seconds) in checkpoints().items()
    ]
    found += [
        (f"prototypes, {name}, a core", f"{speed:.1f} frames/s")
        for name, speed in pass_speed().items()
    ]
    one = _step_alone()
    times = ", ".join(f"{name} {one[name]:.1f}" for name in ("forward", "backward", "update"))
    total = sum(one[name] for name in ("forward", "backward", "update"))
    found.append((f"stage2, a step of {STEP_CLIPS} clips", f"{total:.1f} CPU s ({times})"))
    found.append(("its peak memory above the model", f"{one['GB']:.2f} GB"))
    return found


def main() -> None:
    """Count and measure, and rewrite the table of docs/performance.md."""
    found = rows()
    console.table("A training step", ("what", "value"), found)
    lines = [
        f"Frames of 256 x 128 pixels, {FRAMES} to a clip, {CLASSES} identities, CLIP ViT-B/16 with "
        "random weights. Counts are under fake tensors; times were measured on "
        f"{machine()}.",
        "",
        "| | |",
        "|---|---:|",
        *(f"| {what} | {value} |" for what, value in found),
    ]
    rewrite("train", "\n".join(lines))


if __name__ == "__main__":
    run(main)
