"""The Skeleton Graph Transformer: who walks like this?

The spatial part follows CSIP-ReID (arXiv 2511.13150, section 3.2), which took it from TranSG (CVPR
2023); the paper's per-frame class token and the attention along time are ours to add, since the
public code has neither and cannot tell one order of frames from another.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.dist import get_rank
from torch import Tensor, nn

from pipeline.errors import PipelineError, did_you_mean
from pipeline.skeleton import Layout, layout
from train.parts.attention import Attention, position_code
from train.parts.batch import masked_mean
from train.parts.gather import gather
from train.registry import MODELS

CHANNELS = {"xyz": 3, "bone_length": 1, "velocity": 3}


@MODELS.register_module()
class SkeletonGraphTransformer(nn.Module):
    """Tokens of every joint and frame, and one feature of the clip.

    >>> from train.encoders.skeleton import SkeletonGraphTransformer
    >>> encoder = SkeletonGraphTransformer(dim=32, layers=1, heads=4, out_dim=16)
    >>> encoder(torch.randn(2, 8, 17, 3)).shape
    torch.Size([2, 8, 18, 16])
    """

    def __init__(
        self,
        joints: str = "h36m17",
        dim: int = 512,
        layers: int = 10,
        heads: int = 8,
        out_dim: int | None = 512,
        eigenvectors: int = 10,
        cls_token: bool = True,
        temporal_layers: int = 2,
        dropout: float = 0.3,
        inputs: Sequence[str] = ("xyz",),
        input_norm: bool = False,
        face_front: bool = False,
    ) -> None:
        """Build the encoder of a joint layout.

        Args:
            joints: Joint layout of `pipeline.skeleton`; its bones are the graph.
            dim: Channels of a token inside.
            layers: Attention blocks over the joints of a frame.
            heads: Attention heads.
            out_dim: Channels of a token outside; None leaves the projection out.
            eigenvectors: Laplacian eigenvectors that say where in the body a joint is.
            cls_token: Give each frame a token of its own, before its joints.
            temporal_layers: Attention blocks over the frames; 0 makes the order of frames count
                for nothing.
            dropout: In the blocks.
            inputs: What the encoder sees of a joint: `xyz`, `bone_length` (to its parent) and
                `velocity` (since the frame before).
            input_norm: Give every channel of every joint mean 0 and deviation 1 over the training
                frames, by a batch norm, as ST-GCN does (Yan et al., AAAI 2018, section 3.6): bones
                that differ by millimetres between people count as much as swinging arms.
            face_front: Turn each clip about the vertical until its hips and shoulders lie, on the
                average, along x: who walks there then looks alike to all cameras. Joints are in
                camera axes, y is down or up.

        Raises:
            PipelineError: If an input or the layout is not known, or the layout is too small for
                that many eigenvectors.
        """
        super().__init__()
        for name in set(inputs) - set(CHANNELS):
            raise PipelineError(
                f"skeleton.inputs: {name!r} is not known. {did_you_mean(name, CHANNELS)}"
            )
        body = layout(joints)
        self.inputs = tuple(inputs)
        self.joints, self.out_dim = len(body.joints), out_dim or dim
        self.has_cls = cls_token
        _, code = laplacian_eigenvectors(body.adjacency(), eigenvectors)
        self.register_buffer("eigenvectors", torch.from_numpy(code).float())
        self.register_buffer("parents", torch.tensor(_parents(body)), persistent=False)
        self.sides = _sides(body) if face_front else None
        channels = sum(CHANNELS[name] for name in self.inputs)
        self.norm = nn.BatchNorm1d(self.joints * channels, affine=False) if input_norm else None
        self.embed = nn.Sequential(
            nn.Linear(channels, dim),
            nn.ReLU(),
            nn.Linear(dim, dim),
        )
        self.place = nn.Linear(eigenvectors, dim)
        self.cls = nn.Parameter(torch.randn(dim) * 0.02) if cls_token else None
        self.blocks = nn.ModuleList(_JointBlock(dim, heads, dropout) for _ in range(layers))
        self.time = nn.ModuleList(FrameBlock(dim, heads, dropout) for _ in range(temporal_layers))
        self.proj = nn.Linear(dim, out_dim, bias=False) if out_dim else nn.Identity()

    def forward(self, xyz: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return tokens `(B, T, 1 + J, C)`, without the 1 when there is no class token.

        Args:
            xyz: `(B, T, J, 3)` joints around the root; failed frames may hold anything.
            mask: `(B, T)`, True where the skeleton of the frame is good.
        """
        if xyz.shape[2] != self.joints:
            raise PipelineError(
                f"skeletons of {xyz.shape[2]} joints came to an encoder of {self.joints}. Set "
                "`joints` of the skeleton encoder to the layout of the shards"
            )
        if mask is not None:
            xyz = torch.where(mask[:, :, None, None], xyz, 0.0)
        if self.sides:
            xyz = facing_front(xyz, *self.sides)
        channels = self._channels(xyz, mask)
        if self.norm is not None:
            channels = self._normalised(self.norm, channels, mask)
        tokens = self.embed(channels) + self.place(self.eigenvectors)
        if self.cls is not None:
            tokens = torch.cat([self.cls.expand(*tokens.shape[:2], 1, -1), tokens], dim=2)
        tokens = tokens.flatten(0, 1)
        for block in self.blocks:
            tokens = block(tokens)
        tokens = tokens.unflatten(0, xyz.shape[:2])
        if len(self.time):
            tokens = tokens + self._motion(self._frame_token(tokens), mask)[:, :, None]
        return self.proj(tokens)

    def pool(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return one feature of each clip, `(B, C)`: the mean of its good frames, zero if none."""
        return masked_mean(self._frame_token(tokens), mask)

    def _frame_token(self, tokens: Tensor) -> Tensor:
        return tokens[:, :, 0] if self.has_cls else tokens.mean(2)

    def _motion(self, frames: Tensor, mask: Tensor | None) -> Tensor:
        frames = frames + position_code(frames.shape[1], frames.shape[2], frames.device)
        for block in self.time:
            frames = block(frames, mask)
        return frames

    def _normalised(self, norm: nn.Module, channels: Tensor, mask: Tensor | None) -> Tensor:
        """Normalise the good frames; the others stay zero and are in no statistic."""
        is_good = channels.new_ones(channels.shape[:2], dtype=torch.bool) if mask is None else mask
        if not self.training:
            made = norm(channels.flatten(0, 1).flatten(1)).view_as(channels)
            return torch.where(is_good[..., None, None], made.to(channels.dtype), 0)
        # The statistics are those of the whole batch, whatever the number of processes. No
        # deviation can be told from a single frame.
        own, channels, is_good = len(channels), gather(channels), gather(is_good)
        out = torch.zeros_like(channels)
        if is_good.sum() > 1:
            good = norm(channels[is_good].flatten(1))
            out[is_good] = good.unflatten(1, channels.shape[2:])
        return out[get_rank() * own :][:own]

    def _channels(self, xyz: Tensor, mask: Tensor | None) -> Tensor:
        channels = []
        for name in self.inputs:
            if name == "xyz":
                channels.append(xyz)
            elif name == "bone_length":
                bones = xyz - xyz[:, :, self.parents]
                channels.append(bones.norm(dim=-1, keepdim=True))
            else:
                step = xyz.diff(dim=1, prepend=xyz[:, :1])
                if mask is not None:
                    # A jump from or to a failed frame is no motion.
                    is_known = mask & torch.cat([mask[:, :1], mask[:, :-1]], dim=1)
                    step = step * is_known[:, :, None, None]
                channels.append(step)
        return torch.cat(channels, dim=-1)


class _JointBlock(nn.Module):
    """Attention over the joints of a frame; normalisation comes after, logits stay within 5."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention = Attention(dim, heads, clamp=5.0)
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.mlp = nn.Sequential(
            nn.Linear(dim, dim * 2), nn.ReLU(), nn.Dropout(dropout), nn.Linear(dim * 2, dim)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = self.norm1(tokens + self.dropout(self.attention(tokens)))
        return self.norm2(tokens + self.dropout(self.mlp(tokens)))


class FrameBlock(nn.Module):
    """Attention over the frames of a clip, normalisation first."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        """Make a block of `dim` channels."""
        super().__init__()
        self.attention = Attention(dim, heads)
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.mlp = nn.Sequential(
            nn.Linear(dim, dim * 2), nn.GELU(), nn.Dropout(dropout), nn.Linear(dim * 2, dim)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, frames: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return `(B, T, C)`; frames outside the mask are not looked at."""
        frames = frames + self.dropout(self.attention(self.norm1(frames), mask=mask))
        return frames + self.dropout(self.mlp(self.norm2(frames)))


def facing_front(xyz: Tensor, left: Sequence[int], right: Sequence[int]) -> Tensor:
    """Turn each clip about y until the mean way from its right to its left joints lies along x.

    Args:
        xyz: `(B, T, J, 3)` joints around the root; failed frames are zero and do not count.
        left: Indices of the joints of the left side that span the trunk.
        right: Those of the right side.
    """
    across = (xyz[:, :, left] - xyz[:, :, right]).sum((1, 2))
    # A clip without a skeleton has no front, and stays zero.
    heading = F.normalize(across[:, [0, 2]], dim=-1)
    cos, sin = heading[:, 0, None, None], heading[:, 1, None, None]
    x, y, z = xyz.unbind(-1)
    return torch.stack([cos * x + sin * z, y, cos * z - sin * x], dim=-1)


def laplacian_eigenvectors(adjacency: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the eigenvalues of the graph's normalised Laplacian and its first eigenvectors.

    The sign of an eigenvector and the basis of a repeated eigenvalue are arbitrary, and differ
    between linear algebra libraries. Here each eigenspace gets the basis that Gram and Schmidt make
    of the joints' own projections, so that every machine trains with the same numbers.

    Args:
        adjacency: `(J, J)` symmetric, no joint without a bone.
        count: How many eigenvectors, after the constant first one.

    Returns:
        `(J,)` eigenvalues, rising, and `(J, count)` eigenvectors 1..count.

    Raises:
        PipelineError: If the graph has too few joints.
    """
    size = len(adjacency)
    if count >= size:
        raise PipelineError(
            f"skeleton.eigenvectors is {count}; a graph of {size} joints has {size - 1}"
        )
    degree = adjacency.sum(1)
    laplacian = np.eye(size) - adjacency / np.sqrt(np.outer(degree, degree))
    values, vectors = np.linalg.eigh(laplacian)
    spaces = np.split(np.arange(size), np.flatnonzero(np.diff(values) > 1e-6) + 1)
    basis = [canonical_basis(vectors[:, space]) for space in spaces]
    return values, np.concatenate(basis, axis=1)[:, 1 : count + 1]


def canonical_basis(space: np.ndarray) -> np.ndarray:
    """Return the basis of a space that does not depend on the one given.

    Args:
        space: `(J, N)` orthonormal columns.

    Returns:
        `(J, N)` orthonormal columns, made of the projections of the axes in their order.
    """
    columns: list[np.ndarray] = []
    for column in (space @ space.T).T:
        rest = column - sum((found * (found @ column) for found in columns), np.zeros_like(column))
        if np.linalg.norm(rest) > 1e-3 and len(columns) < space.shape[1]:
            columns.append(rest / np.linalg.norm(rest))
    return np.stack(columns, axis=1)


def _sides(body: Layout) -> tuple[list[int], list[int]]:
    """Return the hips and shoulders of the left and of the right."""
    left, right = (
        [body.joints.index(f"{side}_{part}") for part in ("hip", "shoulder")]
        for side in ("left", "right")
    )
    return left, right


def _parents(body: Layout) -> list[int]:
    """Return the joint before each on the way from the root; the root is its own."""
    root = body.root or 0
    parents, reached = {root: root}, [root]
    for joint in reached:
        for neighbour in np.flatnonzero(body.adjacency()[joint]).tolist():
            if neighbour not in parents:
                parents[neighbour] = joint
                reached.append(neighbour)
    return [parents[joint] for joint in range(len(body.joints))]
