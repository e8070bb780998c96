"""TranSG's tasks for a skeleton encoder (Rao and Miao, CVPR 2023)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from train.parts.batch import Inputs, has_skeleton, masked_mean
from train.parts.losses import no_loss
from train.parts.precision import in_float32, unit
from train.registry import MODELS


@MODELS.register_module()
class SkeletonPromptLoss(nn.Module):
    """TranSG's two tasks for a skeleton encoder: prototype contrast and prompted reconstruction.

    GPC pulls frames and clips to their identity's prototype; STPR rebuilds the whole skeleton from
    some of its joints, and a joint's whole trajectory from some of the frames (Rao and Miao, CVPR
    2023, sections 3.3 and 3.4; the weights are CSIP-ReID's).

    >>> from train.parts.transg import SkeletonPromptLoss
    >>> loss = SkeletonPromptLoss(dim=16, joints=17, frames=8)
    >>> tokens, xyz = torch.randn(2, 8, 17, 16), torch.randn(2, 8, 17, 3)
    >>> sorted(loss(tokens, xyz, torch.tensor([0, 1]), torch.randn(5, 16)))
    ['clip_contrast', 'frame_contrast', 'joint_recon', 'total', 'trajectory_recon']
    """

    def __init__(
        self,
        dim: int,
        joints: int,
        frames: int,
        temperature: float = 0.1,
        hidden_joints: int = 7,
        hidden_frames: int = 2,
        clip_share: float = 0.5,
        joint_share: float = 0.5,
        contrast_share: float = 0.5,
    ) -> None:
        """Make the two reconstruction heads.

        Args:
            dim: Channels of a token.
            joints: Joints of a skeleton.
            frames: Frames of a clip.
            temperature: Of the contrast.
            hidden_joints: Joints hidden from the first task.
            hidden_frames: Frames hidden from the second.
            clip_share: Share of the clip, against the frames, in the contrast.
            joint_share: Share of the joint task, against trajectories, in the reconstruction.
            contrast_share: Share of the contrast, against the reconstruction, in the total.
        """
        super().__init__()
        self.temperature = temperature
        self.hidden_joints, self.hidden_frames = hidden_joints, hidden_frames
        self.clip_share, self.joint_share = clip_share, joint_share
        self.contrast_share = contrast_share
        self.joint_head = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, joints * 3))
        self.trajectory_head = nn.Sequential(
            nn.Linear(dim, dim // 2), nn.ReLU(), nn.Linear(dim // 2, frames * 3)
        )

    def forward(
        self,
        tokens: Tensor,
        xyz: Tensor,
        labels: Tensor,
        prototypes: Tensor,
        mask: Tensor | None = None,
        seen_joints: Tensor | None = None,
        seen_frames: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Return the four losses and their weighted `total`.

        Args:
            tokens: `(B, T, J, C)` of joints.
            xyz: `(B, T, J, 3)` to rebuild.
            labels: `(B,)` rows of the prototypes.
            prototypes: `(K, C)`.
            mask: `(B, T)`, True where the skeleton is good.
            seen_joints: `(J,)`, True for joints that are not hidden; drawn when left out.
            seen_frames: `(T,)`, the same for frames.
        """
        batch, frames, joints, _ = tokens.shape
        if mask is None:
            mask = tokens.new_ones(batch, frames, dtype=torch.bool)
        if seen_joints is None:
            seen_joints = _draw(joints, self.hidden_joints, tokens.device)
        if seen_frames is None:
            seen_frames = _draw(frames, self.hidden_frames, tokens.device)
        joint_recon = (
            self.predict_joints(tokens, seen_joints).unflatten(2, (joints, 3)) - xyz
        ).abs()
        trajectory = self.predict_trajectories(tokens, seen_frames & mask)
        trajectory_recon = (trajectory.unflatten(2, (frames, 3)).transpose(1, 2) - xyz).abs()
        frame_contrast, clip_contrast = self._contrasts(tokens.mean(2), labels, prototypes, mask)
        losses = {
            "joint_recon": joint_recon[mask].mean(),
            "trajectory_recon": trajectory_recon[mask].mean(),
            "frame_contrast": frame_contrast,
            "clip_contrast": clip_contrast,
        }
        losses["total"] = self.contrast_share * (
            self.clip_share * losses["clip_contrast"]
            + (1 - self.clip_share) * losses["frame_contrast"]
        ) + (1 - self.contrast_share) * (
            self.joint_share * losses["joint_recon"]
            + (1 - self.joint_share) * losses["trajectory_recon"]
        )
        return losses

    @in_float32
    def _contrasts(
        self, frames: Tensor, labels: Tensor, prototypes: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the contrast of the good frames `(B, T, C)`, and that of the clips."""
        of_frames = labels[:, None].expand(-1, frames.shape[1])[mask]
        per_frame = frames[mask] @ prototypes.T / self.temperature
        per_clip = unit(masked_mean(frames, mask)) @ unit(prototypes).T / self.temperature
        return F.cross_entropy(per_frame, of_frames), F.cross_entropy(per_clip, labels)

    def predict_joints(self, tokens: Tensor, seen: Tensor) -> Tensor:
        """Return every frame's joints `(B, T, J * 3)` from the tokens of those seen, `(J,)`."""
        return self.joint_head(tokens[:, :, seen].mean(2))

    def predict_trajectories(self, tokens: Tensor, seen: Tensor) -> Tensor:
        """Return every joint's path `(B, J, T * 3)` from the frames seen, `(B, T)`."""
        return self.trajectory_head(masked_mean(tokens, seen))


def prompt_loss(
    prompt: nn.Module, encoder: nn.Module, tokens: Tensor, inputs: Inputs, labels: Tensor
) -> Tensor:
    """Return TranSG's losses, with the batch's own class means for prototypes."""
    keep, mask = has_skeleton(inputs), inputs.get("mask")
    tokens, xyz, labels = tokens[keep], inputs["xyz"][keep], labels[keep]
    if not len(labels):
        return no_loss(prompt)
    mask = None if mask is None else mask[keep]
    ids, rows = labels.unique(return_inverse=True)
    features = encoder.pool(tokens, mask).detach().float()
    prototypes = torch.stack([features[rows == row].mean(0) for row in range(len(ids))])
    return prompt(tokens[:, :, -encoder.joints :], xyz, rows, prototypes, mask)["total"]


def _draw(count: int, hidden: int, device: torch.device) -> Tensor:
    """Return a mask that hides some, never all."""
    seen = torch.ones(count, dtype=torch.bool, device=device)
    seen[torch.randperm(count, device=device)[: min(hidden, count - 1)]] = False
    return seen
