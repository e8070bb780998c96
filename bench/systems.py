"""Count what a step of every system costs at the size of CLIP, and rewrite docs/systems.md.

Nothing is computed: under fake tensors, which have shapes and no values, operations are counted, so
the numbers are the same on every machine.

Run it:   python -m bench.systems
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from bench.measure import rewrite
from bench.syncs import saved_bytes, without_values
from pipeline import console, paths
from pipeline.cli import run
from pipeline.schema import VIEW

PAGE, RECIPE = Path("docs/systems.md"), Path("conf/recipe/paper.yaml")
ENCODER = "clip_vit_b16"
# Systems that need an encoder of their own.
ENCODERS = {"vslat": "clip_vit_l14_adapters", "skeleton": "none"}
CLASSES, CLIPS, FRAMES = 625, 16, 8
# How a clip was seen, as numbers of what there is; the rest of `VIEW` is measured.
KINDS = ("spectrum", "platform", "clothes")
Numbers = dict[str, float]


def systems() -> list[str]:
    """Return the names of all systems, the baseline first."""
    names = sorted(file.stem for file in (paths.ROOT / "conf/model").glob("*.yaml"))
    return sorted(names, key=lambda name: name != "visual")


def encoder_of(system: str) -> str:
    """Return the file of conf/encoder/ that a system is counted with."""
    return ENCODERS.get(system, ENCODER)


def model_of(system: str) -> nn.Module:
    """Return a system as it trains on MARS, with random weights."""
    from pipeline.params.config import load
    from train.registry import MODELS
    from train.run.compose import compose

    config = compose("stage2", load((), RECIPE), encoder_of(system), system)["model"]
    model = MODELS.build(config | {"classes": CLASSES})
    if hasattr(model, "set_prototypes"):
        bank = torch.ones(CLASSES, model.visual.out_dim)
        model.set_prototypes(bank, bank)
    return model.train()


def batch_of(model: Any) -> dict[str, Tensor]:
    """Return a batch with all columns that there are."""
    size = model.visual.size if model.visual is not None else (1, 1)
    each = (CLIPS, FRAMES)
    return {
        "frames": torch.randn(*each, 3, *size),
        "xyz": torch.randn(*each, 17, 3),
        "mask": torch.ones(*each, dtype=torch.bool),
        "kps": torch.rand(*each, 17, 3),
        "silhouettes": torch.ones(*each, *size, dtype=torch.uint8),
        "erased": torch.zeros(*each, dtype=torch.bool),
        "heights": torch.full(each, size[0]),
        "words": torch.ones(CLIPS, 48, dtype=torch.int64),
        "text": torch.randn(CLIPS, 512),
        **{name: torch.ones(CLIPS, dtype=torch.int64) for name in ("camids", *KINDS)},
        **{name: torch.full((CLIPS,), 30.0) for name in VIEW if name not in KINDS},
    }


def counted(system: str) -> Numbers:
    """Return what a system costs.

    Returns:
        `parameters` and those `trained`, in millions; `GMACs` to describe a frame; `TFLOP` of a
        step forward and back, and `GB` that it keeps for the way back, in float32.
    """
    mode = FakeTensorMode()
    model = without_values(model_of(system), mode)
    own = {one.untyped_storage()._cdata for one in model.parameters()}
    with mode:
        inputs, labels = batch_of(model), torch.arange(CLIPS) // 4
        with FlopCounterMode(display=False) as step:
            with saved_bytes(own) as saved:
                terms: dict[str, Tensor] = model(inputs, labels, mode="loss")
                weighed = [value for name, value in terms.items() if name.startswith("loss_")]
                loss = torch.stack(weighed).sum()
            kept = saved()
            loss.backward()
        with torch.no_grad(), FlopCounterMode(display=False) as test:
            model.eval()(inputs, mode="predict")
    return {
        "parameters": sum(one.numel() for one in model.parameters()) / 1e6,
        "trained": sum(one.numel() for one in model.parameters() if one.requires_grad) / 1e6,
        "GMACs": test.get_total_flops() / 2 / CLIPS / FRAMES / 1e9,
        "TFLOP": step.get_total_flops() / 1e12,
        "GB": kept / 1e9,
    }


def table(found: dict[str, Numbers]) -> str:
    """Return the Markdown table."""
    base = found["visual"]["GMACs"]
    lines = [
        f"{CLIPS} clips of {FRAMES} frames of 256 x 128 pixels, {CLASSES} identities; on "
        f"`{ENCODER}`, with the exceptions that the table names. Counted, not timed "
        "(`python -m bench.systems`). Memory is what a step keeps for its way back, in float32.",
        "",
        "| system | encoder | parameters, M | trained, M | GMACs per frame | against `visual` "
        "| a step, TFLOP | kept, GB |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for system, own in found.items():
        name = encoder_of(system)
        ratio = own["GMACs"] / base
        lines.append(
            f"| {system} | `{name}` | {own['parameters']:.1f} | {own['trained']:.1f} "
            f"| {own['GMACs']:.2f} | {ratio:.2f} | {own['TFLOP']:.2f} | {own['GB']:.1f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Count every system, and rewrite the table of docs/systems.md."""
    found = {}
    with console.progress(len(systems()), "systems", "count") as meter:
        for system in systems():
            found[system] = counted(system)
            meter.advance()
    rewrite("systems", table(found), PAGE)
    console.summary(PAGE, f"{len(found)} systems", "git diff docs/systems.md")


if __name__ == "__main__":
    run(main)
