"""The published files, rewritten: nothing lost, nothing swapped, and broken ones refused."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

from extract.movenet import convert
from pipeline.code.fingerprint import sha256
from pipeline.errors import PipelineError
from tests.conftest import ROOT

KEPT = ROOT / "data/weights/movenet_lightning/pose2d.safetensors"
TRUNK = "StatefulPartitionedCall/center_net_mobile_net_v2fpn_feature_extractor/model_1"
HEAD = "StatefulPartitionedCall/kpt_regress_0"
# Name and shape there; name and order of dimensions here.
TENSORS = {
    f"{TRUNK}/model/Conv1/Conv2D_weights": ((3, 3, 3, 4), "backbone.stem.weight", (3, 2, 0, 1)),
    f"{TRUNK}/model/Conv1/Conv2D_bn_offset": ((4,), "backbone.stem.bias", (0,)),
    f"{TRUNK}/model/expanded_conv_depthwise/depthwise_weights": (
        (3, 3, 4, 1), "backbone.blocks.0.depthwise.weight", (2, 3, 0, 1),
    ),
    f"{TRUNK}/model/block_12_expand/Conv2D_weights": (
        (1, 1, 4, 24), "backbone.blocks.12.expand.weight", (3, 2, 0, 1),
    ),
    f"{TRUNK}/conv2d_2/Conv2D/ReadVariableOp": (
        (1, 1, 4, 8), "backbone.laterals.5.weight", (3, 2, 0, 1),
    ),
    f"{TRUNK}/separable_conv2d_1/separable_conv2d/ReadVariableOp": (
        (3, 3, 8, 1), "backbone.smooth.1.depthwise.weight", (2, 3, 0, 1),
    ),
    f"{TRUNK}/separable_conv2d_1/separable_conv2d_bn_offset": (
        (8,), "backbone.smooth.1.pointwise.bias", (0,),
    ),
    f"{HEAD}/separable_conv2d_5/separable_conv2d/ReadVariableOp": (
        (3, 3, 8, 1), "head.branches.regress.0.depthwise.weight", (2, 3, 0, 1),
    ),
    f"{HEAD}/separable_conv2d_5/separable_conv2d/ReadVariableOp_1": (
        (1, 1, 8, 16), "head.branches.regress.0.pointwise.weight", (3, 2, 0, 1),
    ),
    f"{HEAD}/conv2d_6/BiasAdd/ReadVariableOp": ((34,), "head.branches.regress.1.bias", (0,)),
    "StatefulPartitionedCall/center_0/conv2d_4/Conv2D/ReadVariableOp": (
        (1, 1, 16, 1), "head.branches.center.1.weight", (3, 2, 0, 1),
    ),
    "StatefulPartitionedCall/strided_slice_3": ((6, 6, 1), None, None),
    "StatefulPartitionedCall/Reshape_13": ((1, 1, 1, 2), None, None),
}  # fmt: skip


@pytest.fixture
def graph(tmp_path):
    """Write a small graph as TensorFlow.js does; returns its JSON file and its tensors."""
    rng = np.random.default_rng(0)
    values = {
        name: rng.normal(size=shape).astype(np.float16) for name, (shape, _, _) in TENSORS.items()
    }
    entries = [
        {
            "name": name, "shape": list(one.shape), "dtype": "float32",
            "quantization": {"dtype": "float16", "original_dtype": "float32"},
        }
        for name, one in values.items()
    ]  # fmt: skip
    # A constant of the decoding among them, which is not in half precision.
    entries.insert(3, {"name": "StatefulPartitionedCall/mul/y", "shape": [], "dtype": "int32"})
    stored = [one.tobytes() for one in values.values()]
    stored.insert(3, np.int32(48).tobytes())
    (tmp_path / "graph.bin").write_bytes(b"".join(stored))
    path = tmp_path / "graph.json"
    path.write_text(json.dumps({"weightsManifest": [{"paths": ["graph.bin"], "weights": entries}]}))
    return path, values


def test_every_weight_has_its_name_and_its_order_of_dimensions(graph, tmp_path):
    path, values = graph
    convert.main(path, tmp_path / "out.safetensors", quiet=True)
    found = load_file(tmp_path / "out.safetensors")
    expected = {key: (name, order) for name, (_, key, order) in TENSORS.items() if key}
    assert found.keys() == expected.keys()
    for key, (name, order) in expected.items():
        assert found[key].dtype == np.float16
        np.testing.assert_array_equal(found[key], values[name].transpose(order))


def test_a_file_that_was_cut_off_is_refused_and_nothing_is_written(graph, tmp_path):
    path, _ = graph
    stored = tmp_path / "graph.bin"
    stored.write_bytes(stored.read_bytes()[:-2])
    with pytest.raises(PipelineError, match=r"graph.bin beside it holds \d+: it was cut off"):
        convert.main(path, tmp_path / "out.safetensors", quiet=True)
    assert not list(tmp_path.glob("*out.safetensors*"))


def test_what_is_missing_or_no_graph_is_named(graph, tmp_path):
    path, _ = graph
    (tmp_path / "graph.bin").unlink()
    with pytest.raises(PipelineError, match=r"needs .*graph.bin beside it"):
        convert.main(path, tmp_path / "out.safetensors", quiet=True)
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(PipelineError, match=r"other.json is no graph of TensorFlow.js"):
        convert.main(tmp_path / "other.json", tmp_path / "out.safetensors", quiet=True)
    other = {"weightsManifest": [{"paths": [], "weights": []}]}
    (tmp_path / "other.json").write_text(json.dumps(other))
    with pytest.raises(PipelineError, match=r"other.json holds no weights of MoveNet"):
        convert.main(tmp_path / "other.json", tmp_path / "out.safetensors", quiet=True)


def test_the_weights_in_git_are_the_published_ones_rewritten(real_data, tmp_path):
    out = tmp_path / "pose2d.safetensors"
    convert.main(real_data / "weights/movenet-lightning.json", out, quiet=True)
    assert sha256(out) == sha256(KEPT)
