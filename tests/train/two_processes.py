"""Train one step in one of some processes, each with its share of the batch; print gradients.

Not a module of tests: tests/train/test_gather.py starts it.
"""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from train.models.contrast import Stage1Model
from train.models.csip import CsipModel

VISUAL = {
    "type": "train.encoders.image.VitEncoder",
    "name": "test_vit",
    "size": (64, 32),
    "out_dim": 16,
}
SKELETON = {
    "type": "train.encoders.skeleton.SkeletonGraphTransformer",
    "dim": 32,
    "layers": 1,
    "heads": 4,
    "out_dim": 16,
    "dropout": 0.0,
}


def model(stage: str) -> torch.nn.Module:
    torch.manual_seed(0)
    if stage == "stage1":
        return Stage1Model(VISUAL, SKELETON)
    still = {"dropout": 0.0}
    made = CsipModel(VISUAL, SKELETON, classes=4, updater=still, temporal=still)
    made.set_prototypes(torch.randn(4, 16), torch.randn(4, 16))
    return made


def batch() -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    torch.manual_seed(1)
    mask = torch.ones(8, 4, dtype=torch.bool)
    mask[5] = False
    inputs = {
        "frames": torch.randn(8, 4, 3, 64, 32),
        "xyz": torch.randn(8, 4, 17, 3),
        "mask": mask,
    }
    return inputs, torch.arange(4).repeat_interleave(2)


def main(rank: int, world: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=world)
    inputs, labels = batch()
    share = slice(rank * 8 // world, (rank + 1) * 8 // world)
    for stage in ("stage1", "stage2"):
        net = DistributedDataParallel(model(stage))
        terms = net({name: x[share] for name, x in inputs.items()}, labels[share], mode="loss")
        sum(term for name, term in terms.items() if name.startswith("loss")).backward()
        parameters = net.module.named_parameters()
        gradients = {name: p.grad for name, p in parameters if p.requires_grad}
        if rank == 0:
            torch.save(gradients, folder / f"{stage}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
