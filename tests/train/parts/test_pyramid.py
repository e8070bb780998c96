import pytest
import torch

from pipeline.errors import PipelineError
from train.parts.precision import unit
from train.parts.pyramid import PartHead, PyramidParts


@pytest.mark.golden
def test_bands_and_heads_are_those_of_the_reference(golden, agree):
    inputs, params, outputs = golden("part_heads")
    pyramid, head = PyramidParts(12, 6), PartHead(31, 6, 5)
    cells = inputs["map"].permute(0, 2, 3, 1)
    agree(pyramid.pool(cells).transpose(1, 2), outputs["parts"])
    pyramid.weight.data = params["fc.fc_bin"]
    parts = pyramid(cells)
    agree(parts.transpose(1, 2), outputs["embedding"])
    # The reference's neck runs over channels first, then parts.
    for ours, theirs in (
        (head.neck.weight, "weight"),
        (head.neck.bias, "bias"),
        (head.neck.running_mean, "running_mean"),
        (head.neck.running_var, "running_var"),
    ):
        ours.data = params[f"neck.bn1d.{theirs}"].view(6, 31).T.flatten()
    head.weight.data = params["neck.fc_bin"]
    head.eval()
    agree(unit(head.normed(parts)).transpose(1, 2), outputs["neck"])
    agree(head(parts).transpose(1, 2), outputs["logits"])


def test_a_band_sees_its_rows_alone():
    pyramid, cells = PyramidParts(4, 4, bands=(1, 4)), torch.randn(2, 8, 3, 4)
    before = pyramid(cells)
    cells[:, 2:4] += 1.0
    changed = (pyramid(cells) - before).abs().amax((0, 2)) > 1e-6
    assert changed.tolist() == [True, False, True, False, False]


def test_too_few_rows_are_refused():
    with pytest.raises(PipelineError, match="16 bands"):
        PyramidParts(4)(torch.randn(1, 4, 2, 4))
