"""What the stage is compared with runs the same network."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.opponents import export
from bench.pose2d import CONFIG, LABELS, _fastest_forward
from extract.pose2d.estimator import Estimator, _forward


def test_the_network_in_onnx_answers_as_it_does_here(tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    from bench.extraction import random_weights

    config = Path(find_spec("mmpose").origin).parent / ".mim" / CONFIG
    weights = tmp_path / "weights.safetensors"
    random_weights(CONFIG)(weights)
    session = runtime.InferenceSession(export(config, weights, tmp_path / "model.onnx"))
    images = torch.randn(3, 3, 256, 192)
    with torch.inference_mode():
        expected = _forward(Estimator(config, weights)._model, images)
    for one, other in zip(expected, session.run(None, {"input": images.numpy()}), strict=True):
        np.testing.assert_allclose(one.numpy(), other, atol=1e-3)


def test_the_fastest_bare_forward_pass_stands_for_all() -> None:
    slow, fast = f"{LABELS['forward']}, eager", f"{LABELS['forward']}, onnxruntime"
    found = {"rtmlib": [9.0, 9.0], slow: [1.0, 8.0, 2.0], fast: [3.0, 3.0, 3.0]}
    assert list(_fastest_forward(found)) == ["rtmlib", fast]
