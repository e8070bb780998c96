"""CSIP-ReID of four identities, and clips for it."""

import torch

from train.models.csip import CsipModel

VISUAL = {
    "type": "train.encoders.image.VitEncoder",
    "name": "test_vit",
    "size": (64, 32),
    "out_dim": 16,
    "cameras": 2,
}


SKELETON = {
    "type": "train.encoders.skeleton.SkeletonGraphTransformer",
    "dim": 32,
    "layers": 1,
    "heads": 4,
    "out_dim": 16,
    "dropout": 0.3,
}


CLASSES = 4


def csip(**settings):
    model = CsipModel(VISUAL, SKELETON, classes=CLASSES, **settings)
    if model.updater is not None:
        model.set_prototypes(torch.randn(CLASSES, 16), torch.randn(CLASSES, 16))
    return model


def clips(batch=8):
    inputs = {
        "frames": torch.randn(batch, 4, 3, 64, 32),
        "xyz": torch.randn(batch, 4, 17, 3),
        "mask": torch.ones(batch, 4, dtype=torch.bool),
        "camids": torch.arange(batch) % 3,
    }
    return inputs, torch.arange(CLASSES).repeat_interleave(batch // CLASSES)


def losses_of(model, inputs, labels):
    losses = model(inputs, labels, mode="loss")
    return {name: term for name, term in losses.items() if name.startswith("loss")}
