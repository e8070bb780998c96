"""Rewrite MoveNet's published weights, a TensorFlow.js graph, as the safetensors read here.

Run it:   python -m extract.movenet.convert movenet-lightning.json pose2d.safetensors

The graph is a JSON file with a list of tensors, and a file beside it with their bytes one after
another, in half precision. Names change, and the order of dimensions; no number does.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from pipeline import cli, console, paths
from pipeline.errors import PipelineError

# What a layer is called there, and here. Constants of the decoding have no line.
_TRUNK, _READ = ".*/model_1/", "ReadVariableOp"
_LAYERS = {
    rf"{_TRUNK}model/Conv1/.*": "backbone.stem",
    rf"{_TRUNK}model/expanded_conv_(\w+)/.*": r"backbone.blocks.0.\1",
    rf"{_TRUNK}model/block_(\d+)_(\w+)/.*": r"backbone.blocks.\1.\2",
    rf"{_TRUNK}model/Conv_1/.*": "backbone.last",
    rf"{_TRUNK}conv2d/.*/{_READ}": "backbone.top",
    rf"{_TRUNK}conv2d_1/.*/{_READ}": "backbone.laterals.9",
    rf"{_TRUNK}conv2d_2/.*/{_READ}": "backbone.laterals.5",
    rf"{_TRUNK}conv2d_3/.*/{_READ}": "backbone.laterals.2",
    rf"{_TRUNK}separable_conv2d/.*/{_READ}": "backbone.smooth.0.depthwise",
    rf"{_TRUNK}separable_conv2d/.*2d_\w+": "backbone.smooth.0.pointwise",
    rf"{_TRUNK}separable_conv2d_([12])/.*/{_READ}": r"backbone.smooth.\1.depthwise",
    rf"{_TRUNK}separable_conv2d_([12])/.*2d_\w+": r"backbone.smooth.\1.pointwise",
    rf".*/(?:kpt_)?(\w+)_0/separable_\w+/separable_conv2d/{_READ}": r"head.branches.\1.0.depthwise",
    rf".*/(?:kpt_)?(\w+)_0/separable_\w+/.*{_READ}(?:_1)?": r"head.branches.\1.0.pointwise",
    rf".*/(?:kpt_)?(\w+)_0/conv2d_\d/.*{_READ}": r"head.branches.\1.1",
}


def main(
    graph: Annotated[Path, typer.Argument(help="The JSON file; its bytes lie beside it.")],
    out: Annotated[Path, typer.Argument(help="The file to write.")],
    quiet: cli.Quiet = False,
) -> None:
    """Rewrite the weights of a TensorFlow.js graph of MoveNet."""
    from safetensors.numpy import save_file

    cli.set_output(False, quiet)
    tensors = dict(renamed(graph))
    if not tensors:
        raise PipelineError(f"{graph} holds no weights of MoveNet. Name movenet-lightning.json")
    with paths.write_atomic(out) as temporary:
        save_file(tensors, temporary)
    size = console.size(out.stat().st_size)
    console.summary(out, f"{len(tensors)} tensors, {size}", "docs/pose_models.md")


def renamed(graph: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the name and the values of each weight, as torch orders its dimensions.

    Raises:
        PipelineError: If a file is missing, broken or cut off.
    """
    for name, values in _tensors(graph):
        matches = ((re.fullmatch(pattern, name), layer) for pattern, layer in _LAYERS.items())
        key = next((found.expand(layer) for found, layer in matches if found), None)
        if key is None:
            continue
        if values.ndim == 1:
            yield f"{key}.bias", values
        else:
            # Height, width, in, out; of a depthwise kernel the last is 1, and it comes first here.
            order = (2, 3, 0, 1) if key.endswith("depthwise") else (3, 2, 0, 1)
            yield f"{key}.weight", np.ascontiguousarray(values.transpose(order))


def _tensors(graph: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the name and the values of all that a graph holds."""
    for group in _manifest(graph):
        try:
            stored = b"".join((graph.parent / name).read_bytes() for name in group["paths"])
        except OSError as error:
            raise PipelineError(f"{graph} needs {error.filename} beside it. Put it there") from None
        at = 0
        for entry in group["weights"]:
            kind = np.dtype(entry.get("quantization", entry)["dtype"])
            end = at + kind.itemsize * int(np.prod(entry["shape"]))
            if end > len(stored):
                raise PipelineError(
                    f"{graph} lists {end} bytes or more, and {', '.join(group['paths'])} beside it "
                    f"holds {len(stored)}: it was cut off. Get it again"
                )
            yield entry["name"], np.frombuffer(stored[at:end], kind).reshape(entry["shape"])
            at = end


def _manifest(graph: Path) -> list[dict[str, Any]]:
    try:
        return json.loads(graph.read_text())["weightsManifest"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PipelineError(
            f"{graph} is no graph of TensorFlow.js ({type(error).__name__}: {error}). Name its "
            "JSON file"
        ) from None


if __name__ == "__main__":
    cli.run(main)
