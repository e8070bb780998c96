"""What is exported as ONNX describes as PyTorch does, for any number of clips."""

import numpy as np
import pytest
import torch

from evaluate.publish.export import TOLERANCE, export
from pipeline.errors import PipelineError
from tests.train.test_every_model import SYSTEMS, built
from train.models.base import ReidModel

pytest.importorskip("onnxscript", reason="the extra onnx is not installed")


class Trained:
    """As much of a trained model as exporting looks at."""

    clip_frames, size = 4, (128, 64)


class Given:
    """A describer of a model that was not published."""

    def __init__(self, model: ReidModel) -> None:
        self.model, self.trained = model, Trained()


def of(system: str) -> Given:
    model = built(system)[0].eval()
    # Statistics that a model has after training, so that the necks do something.
    for one in model.modules():
        if isinstance(one, torch.nn.BatchNorm1d):
            one.running_mean.normal_()
    return Given(model)


def compared(system: str, tmp_path) -> None:
    import onnxruntime

    given, file = of(system), tmp_path / "model.onnx"
    found = export(given, file)
    assert found.difference <= TOLERANCE
    assert min(found.gmacs, found.onnx_ms, found.torch_ms) > 0
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    shapes = {one.name: one.shape for one in session.get_inputs()}
    assert all(isinstance(shape[0], str) for shape in shapes.values()), "the batch is dynamic"
    if "frames" not in shapes:
        return
    # Independently of what export compares: the model's own way from bytes to features.
    rng = np.random.default_rng(1)
    for count in (1, 2, 7):
        clips = {
            name: rng.integers(0, 256, (count, *shape[1:])).astype(np.uint8)
            if name == "frames"
            else rng.random((count, *shape[1:])).astype(np.float32)
            for name, shape in shapes.items()
            if name != "heights"
        }
        if "heights" in shapes:
            clips["heights"] = np.full((count, 4), 40, np.int64)
        inputs = {name: torch.from_numpy(one) for name, one in clips.items()}
        inputs["camids"] = torch.full((count,), -1)
        with torch.no_grad():
            expected = given.model.test_step({"inputs": inputs}).numpy()
        (made,) = session.run(None, clips)
        np.testing.assert_allclose(made, expected, atol=TOLERANCE)


def test_what_is_exported_describes_as_the_model_does(tmp_path):
    compared("csip", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("system", [one for one in SYSTEMS if one != "csip"])
def test_every_system_can_be_exported(system, tmp_path):
    compared(system, tmp_path)


def test_features_that_differ_are_not_published(tmp_path, monkeypatch):
    monkeypatch.setitem(export.__globals__, "TOLERANCE", -1.0)
    with pytest.raises(PipelineError, match="describes clips otherwise than PyTorch"):
        export(of("visual"), tmp_path / "model.onnx")


def test_what_is_not_installed_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(export.__globals__, "EXTRA", ("onnx", "no_such_package"))
    with pytest.raises(PipelineError, match=r"no_such_package is not installed. Run: pip install"):
        export(of("visual"), tmp_path / "model.onnx")
