"""The descriptor as ONNX: decoded frames go in, features come out, for any number of clips.

Normalisation is part of the graph; to resize the frames and to choose those of a clip is left to
whoever runs it.
"""

import time
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.errors import PipelineError
from train.parts.batch import only

if TYPE_CHECKING:
    from evaluate.describe import Describer

# The largest difference of a number of a feature, which are of a vector of length 1.
TOLERANCE = 1e-4
EXTRA = ("onnx", "onnxruntime", "onnxscript")
# Another number than any size in a model: what equals one would be taken for it.
_EXAMPLES, _OTHERS = 3, 5
_RUNS = 10
Arrays = dict[str, np.ndarray]


class Exported(NamedTuple):
    """What came of it.

    Attributes:
        difference: The largest between what ONNX Runtime and PyTorch make of the same clips.
        gmacs: Billions of multiplications and additions to describe a clip.
        onnx_ms: Milliseconds that ONNX Runtime takes for a clip, on the CPU.
        torch_ms: Milliseconds that PyTorch takes there.
    """

    difference: float
    gmacs: float
    onnx_ms: float
    torch_ms: float


def export(describer: "Describer", file: Path) -> Exported:
    """Write the descriptor of a model, and compare what it makes of other clips.

    Raises:
        PipelineError: If what ONNX needs is not installed, or the features differ.
    """
    if missing := [name for name in EXTRA if find_spec(name) is None]:
        raise PipelineError(f"{missing[0]} is not installed. Run: pip install {' '.join(EXTRA)}")
    graph = _Graph(describer.model.cpu())
    example = _clips(describer, _EXAMPLES)
    _write(graph, example, file)
    run = _runtime(file)
    difference = max(
        float(np.abs(run(clips) - graph.features(clips)).max())
        for clips in (example, _clips(describer, _OTHERS), _clips(describer, 1))
    )
    if difference > TOLERANCE:
        raise PipelineError(
            f"ONNX Runtime describes clips otherwise than PyTorch, by {difference:.1e}. "
            "Publish it without --onnx"
        )
    one = _clips(describer, 1)
    return Exported(difference, _gmacs(graph, one), _ms(run, one), _ms(graph.features, one))


class _Graph(nn.Module):
    """From columns of a batch as they are given to the features."""

    model: Any

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model, self.looked_at = model.eval(), model.looked_at()

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        first = next(iter(inputs.values()))
        # Who took a clip is as unknown as the camera.
        batch = dict(inputs) | {"camids": first.new_full(first.shape[:1], -1, dtype=torch.int64)}
        if "frames" in batch:
            prepare = self.model.data_preprocessor
            batch["frames"] = (batch["frames"].float() / 255 - prepare.mean) / prepare.std
        if "xyz" in batch:
            # As everywhere, a frame without a skeleton has no number in it.
            batch["mask"] = batch["xyz"].isfinite().all(-1).all(-1)
            batch["xyz"] = torch.where(batch["mask"][..., None, None], batch["xyz"], 0.0)
        return self.model.describe(only(batch, self.looked_at), self.model.descriptor)

    @torch.no_grad()
    def features(self, clips: Arrays) -> np.ndarray:
        """Return what PyTorch makes of clips."""
        return self({name: torch.from_numpy(one) for name, one in clips.items()}).numpy()


def _clips(describer: "Describer", count: int) -> Arrays:
    """Return clips of noise, of all that a model looks at."""
    rng, length = np.random.default_rng(count), describer.trained.clip_frames
    height, width = describer.trained.size
    joints = getattr(describer.model.skeleton, "joints", 17)
    made = {
        "frames": rng.integers(0, 256, (count, length, 3, height, width), np.uint8),
        "kps": rng.random((count, length, 17, 3), np.float32),
        "silhouettes": rng.integers(0, 2, (count, length, height, width), np.uint8),
        "heights": np.full((count, length), height, np.int64),
        "xyz": rng.standard_normal((count, length, joints, 3), np.float32),
    }
    looked_at = describer.model.looked_at()
    return {name: values for name, values in made.items() if name in looked_at}


def _write(graph: _Graph, example: Arrays, file: Path) -> None:
    clips = {name: torch.from_numpy(values) for name, values in example.items()}
    shapes = {"inputs": {name: {0: torch.export.Dim.DYNAMIC} for name in clips}}
    program = torch.export.export(graph, (clips,), dynamic_shapes=shapes, strict=True)
    torch.onnx.export(
        program, f=file, input_names=list(clips), output_names=["feature"],
        external_data=False, verbose=False,
        custom_translation_table={torch.ops.aten.sort.stable: _sorted},
    )  # fmt: skip


def _sorted(values: Any, *, stable: bool, dim: int = -1, descending: bool = False) -> Any:
    """Sort as PyTorch does: among equals, TopK of ONNX takes the first. The exporter has none."""
    from onnxscript import opset18 as op

    axis: Any = op.Constant(value_ints=[dim])
    length = op.Gather(op.Shape(values), axis)
    return op.TopK(values, length, axis=dim, largest=int(descending))


def _runtime(file: Path) -> Callable[[Arrays], np.ndarray]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session: Any = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    return lambda clips: session.run(["feature"], clips)[0]


def _gmacs(graph: _Graph, clips: Arrays) -> float:
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        graph.features(clips)
    return counter.get_total_flops() / 2e9


def _ms(run: Callable[[Arrays], object], clips: Arrays) -> float:
    """Return the median time of a clip, after one that nobody counts."""
    run(clips)
    taken = []
    for _ in range(_RUNS):
        began = time.perf_counter()
        run(clips)
        taken.append(1e3 * (time.perf_counter() - began))
    return float(np.median(taken))
