"""How clips become a batch."""

from collections.abc import Sequence
from typing import Any

from torch.utils.data import default_collate

Item = dict[str, Any]


def collate(items: Sequence[Item]) -> Item:
    """Make a batch; its frames lie in memory pixel by pixel, as they were decoded.

    They keep the shape `(B, T, 3, H, W)`: to lay them out anew costs a worker more than all else
    that it does here, and a network that takes them channels last would turn them back.
    """
    if "frames" not in items[0]["inputs"]:
        return default_collate(items)
    turned = [
        item | {"inputs": item["inputs"] | {"frames": item["inputs"]["frames"].permute(0, 2, 3, 1)}}
        for item in items
    ]
    batch = default_collate(turned)
    batch["inputs"]["frames"] = batch["inputs"]["frames"].permute(0, 1, 4, 2, 3)
    return batch
