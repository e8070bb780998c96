"""The names others gave to the parameters of parts that we have too: one small table for each."""

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from pipeline.errors import PipelineError

State = dict[str, Tensor]


class Rule(NamedTuple):
    """A parameter elsewhere, and what becomes of it here.

    Attributes:
        pattern: Regular expression of the whole name elsewhere.
        name: Name here, with groups of the pattern; several when the tensor holds several in a row;
            none when nothing here needs it.
        change: What to do with the tensor.
    """

    pattern: str
    name: str | tuple[str, ...] | None
    change: Callable[[Tensor], Tensor] = lambda tensor: tensor


def _fused(elsewhere: str, here: str) -> Rule:
    names = tuple(rf"{here}.{part}.\g<kind>" for part in "qkv")
    return Rule(rf"{elsewhere}(?P<kind>weight|bias)", names)


def _attention(elsewhere: str, here: str) -> tuple[Rule, Rule]:
    """Name the parameters of a `torch.nn.MultiheadAttention`."""
    return (
        _fused(rf"{elsewhere}\.in_proj_", here),
        Rule(rf"{elsewhere}\.out_proj\.(?P<kind>\w+)", rf"{here}.out.\g<kind>"),
    )


# The parts of the public CSIP-ReID code (read in November 2026).
SKELETON = (
    Rule(r"input_fc1\.(\w+)", r"embed.0.\1"),
    Rule(r"input_fc2\.(\w+)", r"embed.2.\1"),
    Rule(r"pos_fc\.(\w+)", r"place.\1"),
    _fused(r"transformer_blocks\.(?P<n>\d+)\.qkv_proj\.", r"blocks.\g<n>.attention"),
    Rule(r"transformer_blocks\.(\d+)\.out_proj\.(\w+)", r"blocks.\1.attention.out.\2"),
    Rule(r"transformer_blocks\.(\d+)\.ffn\.(\w+\.\w+)", r"blocks.\1.mlp.\2"),
    Rule(r"transformer_blocks\.(\d+)\.(norm\d\.\w+)", r"blocks.\1.\2"),
    Rule(r"proj_ske", "proj.weight", Tensor.t),
    Rule(r"(joint|traj)_prompt\..*", None),
)
SKELETON_PROMPTS = (
    Rule(r"joint_prompt\.fc1\.(\w+)", r"joint_head.0.\1"),
    Rule(r"joint_prompt\.fc2\.(\w+)", r"joint_head.2.\1"),
    Rule(r"traj_prompt\.fc1\.(\w+)", r"trajectory_head.0.\1"),
    Rule(r"traj_prompt\.fc2\.(\w+)", r"trajectory_head.2.\1"),
    Rule(r"(input_fc|pos_fc|transformer_blocks|proj_ske).*", None),
)
FUSION = (Rule(r"fc\.(\d\.\w+)", r"mlp.\1"),)
UPDATER = (
    Rule(r"memory_proj\.(.+)", r"read_tokens.\1"),
    Rule(r"text_proj\.(.+)", r"read_prototypes.\1"),
    Rule(r"out_proj\.(.+)", r"write.\1"),
    Rule(
        r"decoder\.(\d+)\.(self|cross)_attn\.([qkv])_proj\.weight",
        r"layers.\1.\2_attention.\3.weight",
    ),
    Rule(r"decoder\.(\d+)\.(self|cross)_attn\.proj\.(\w+)", r"layers.\1.\2_attention.out.\3"),
    Rule(r"decoder\.(\d+)\.(norm\d\.\w+|mlp\..+)", r"layers.\1.\2"),
    # The public code makes both and uses neither.
    Rule(r"alpha|norm\.\w+", None),
)
TEMPORAL = (
    Rule(r"msg_fc_vis\.(\w+)", r"visual_in.\1"),
    Rule(r"msg_fc_ske\.(\w+)", r"skeleton_in.\1"),
    Rule(r"msg_ln_vis\.(\w+)", r"visual_norm.\1"),
    Rule(r"msg_ln_ske\.(\w+)", r"skeleton_norm.\1"),
    *_attention("msg_attn_vis", "visual_time"),
    *_attention("msg_attn_ske", "skeleton_time"),
    *_attention("cross_attn_ske_to_vis", "guide"),
    Rule(r"norm_vis\.(\w+)", r"guide_query_norm.\1"),
    Rule(r"norm_ske\.(\w+)", r"guide_key_norm.\1"),
    *_attention("attention", "attention"),
    Rule(r"ln_(\d)\.(\w+)", r"norm\1.\2"),
    Rule(r"(mlp\..+)", r"\1"),
    Rule(r"token_attn_score\.0\.(\w+)", r"weight.\1"),
    Rule(r"token_type_embed\.(\w+)", r"kind.\1"),
)

# Parts of the systems beside it: TF-CLIP, CLIMB, and what entries of VReID-XFD are made of.
MESSAGE = (
    Rule(r"(?:resblocks\.0\.message_)?fc\.(\w+)", r"write.\1"),
    Rule(r"resblocks\.0\.message_ln\.(\w+)", r"time_norm.\1"),
    Rule(r"resblocks\.0\.ln_1\.(\w+)", r"frame_norm.\1"),
    Rule(r"resblocks\.0\.ln_2\.(\w+)", r"mlp.0.\1"),
    Rule(r"resblocks\.0\.mlp\.c_fc\.(\w+)", r"mlp.1.\1"),
    Rule(r"resblocks\.0\.mlp\.c_proj\.(\w+)", r"mlp.3.\1"),
    *_attention(r"(?:resblocks\.0\.message_attn|cross_frame_attn)", "time"),
    *_attention(r"(?:resblocks\.0\.attn|intra_frame_diffusion_attn)", "frame"),
)
CONV_POOL = (
    Rule(r"attention_conv\.weight", "narrow.weight", lambda tensor: tensor.flatten(1)),
    Rule(r"attention_conv\.bias", "narrow.bias"),
    Rule(r"attention_tconv\.(\w+)", r"judge.\1"),
)
ORDER_POOL = (Rule(r"norm\.(\w+)", r"norm.\1"), Rule(r"att\.(\d\.\w+)", r"weight.\1"))
ADAPTED_BLOCK = (
    Rule(r"attn\.in_proj_(\w+)", r"block.attn.qkv.\1"),
    Rule(r"attn\.out_proj\.(\w+)", r"block.attn.proj.\1"),
    Rule(r"ln_(\d)\.(\w+)", r"block.norm\1.\2"),
    Rule(r"mlp\.c_fc\.(\w+)", r"block.mlp.fc1.\1"),
    Rule(r"mlp\.c_proj\.(\w+)", r"block.mlp.fc2.\1"),
    Rule(r"dat\.(\w+\.\w+)", r"adapter.within.\1"),
    *_attention(r"dat_cross\.temporal_block\.temporal_attn", "adapter.across.time"),
    Rule(r"dat_cross\.(\w+\.\w+)", r"adapter.across.\1"),
)
# A convolution of width one over scalars is a linear map of each.
EXCHANGE = tuple(
    Rule(rf"enhance_{there}_net_3\.{elsewhere}", rf"{here}.{name}", change)
    for there, here in (("shape", "to_gait"), ("app", "to_appearance"))
    for elsewhere, name, change in (
        (r"(theta|phi)\.weight", r"\1.weight", lambda tensor: tensor[..., 0]),
        (r"(theta|phi)\.bias", r"\1.bias", lambda tensor: tensor),
        (r"g\.0\.weight", "value.weight", lambda tensor: tensor[..., 0]),
        (r"g\.0\.bias", "value.bias", lambda tensor: tensor),
        (r"W1\.0\.weight", "agree.weight", lambda tensor: tensor[..., 0]),
        (r"W1\.0\.bias", "agree.bias", lambda tensor: tensor),
        (r"W1\.1\.(\w+)", r"agree_norm.\1", lambda tensor: tensor),
        (r"W2\.0\.weight", "differ.weight", lambda tensor: tensor[..., 0]),
        (r"W2\.0\.bias", "differ.bias", lambda tensor: tensor),
        (r"W2\.1\.(\w+)", r"differ_norm.\1", lambda tensor: tensor),
    )
)
MASK_BRANCH = (
    Rule(r"bn_s\.(\w+)", r"norm.\1"),
    Rule(r"down_sampling\.(\w+)", r"shrink.\1"),
    Rule(r"up_sampling\.(\w+)", r"grow.\1"),
    Rule(r"bn_t\..*", None),
)
PART_BRANCH = (
    Rule(r"bn_s\.(\w+)", r"shrink.0.\1"),
    Rule(r"down_sampling\.0\.(\w+)", r"shrink.1.\1"),
    Rule(r"down_sampling\.1\.(\w+)", r"shrink.2.\1"),
    Rule(r"down_sampling\.3\.(\w+)", r"shrink.4.\1"),
    Rule(r"bn_t\..*", None),
)
LOOK_BRANCH = (
    Rule(r"bn_s\.(\w+)", r"shrink.0.\1"),
    Rule(r"down_sampling\.(\w+)", r"shrink.1.\1"),
    Rule(r"bn_t\.(\w+)", r"shrink.2.\1"),
)
STREAM_FUSION = (Rule(r"conv\.forward_block\.(\d\.\w+)", r"weigh.\1"),)
SWIN = (
    Rule(r"conv_first\.(\w+)", r"first.\1"),
    Rule(r"patch_embed\.norm\.(\w+)", r"norm_in.\1"),
    Rule(r"layers\.(\d+)\.residual_group\.(.+)", r"groups.\1.\2"),
    Rule(r"layers\.(\d+)\.conv\.(\w+)", r"groups.\1.conv.\2"),
    Rule(r"norm\.(\w+)", r"norm.\1"),
    Rule(r"conv_after_body\.(\w+)", r"after.\1"),
    Rule(r"upsample\.0\.(\w+)", r"last.\1"),
)

# OpenAI's names of a CLIP image tower, which open_clip kept.
CLIP = (
    Rule(r"conv1\.weight", "vit.patch_embed.proj.weight"),
    Rule(r"class_embedding", "vit.cls_token", lambda tensor: tensor[None, None]),
    Rule(r"positional_embedding", "vit.pos_embed", lambda tensor: tensor[None]),
    Rule(r"ln_pre\.(\w+)", r"vit.norm_pre.\1"),
    Rule(r"ln_post\.(\w+)", r"vit.norm.\1"),
    Rule(r"proj", "proj.weight", Tensor.t),
    Rule(r"transformer\.resblocks\.(\d+)\.attn\.in_proj_(\w+)", r"vit.blocks.\1.attn.qkv.\2"),
    Rule(r"transformer\.resblocks\.(\d+)\.attn\.out_proj\.(\w+)", r"vit.blocks.\1.attn.proj.\2"),
    Rule(r"transformer\.resblocks\.(\d+)\.ln_(\d)\.(\w+)", r"vit.blocks.\1.norm\2.\3"),
    Rule(r"transformer\.resblocks\.(\d+)\.mlp\.c_fc\.(\w+)", r"vit.blocks.\1.mlp.fc1.\2"),
    Rule(r"transformer\.resblocks\.(\d+)\.mlp\.c_proj\.(\w+)", r"vit.blocks.\1.mlp.fc2.\2"),
)
TIMM_VIT = (
    Rule(r"head\.weight", "proj.weight"),
    Rule(r"head\.bias", None),
    Rule(r"(.+)", r"vit.\1"),
)
TIMM_CNN = (Rule(r"(fc|head|classifier)\..*", None), Rule(r"(.+)", r"cnn.\1"))


def rename(state: Mapping[str, Tensor], rules: tuple[Rule, ...]) -> State:
    """Return the parameters under the names they have here.

    Raises:
        PipelineError: If no rule knows a name.

    >>> import torch
    >>> sorted(rename({"fc.0.bias": torch.zeros(4)}, FUSION))
    ['mlp.0.bias']
    """
    renamed: State = {}
    for name, tensor in state.items():
        for rule in rules:
            match = re.fullmatch(rule.pattern, name)
            if match:
                break
        else:
            raise PipelineError(f"the weights hold {name}, which has no place in this model")
        if isinstance(rule.name, tuple):
            parts = rule.change(tensor).chunk(len(rule.name))
            renamed |= {match.expand(one): part for one, part in zip(rule.name, parts, strict=True)}
        elif rule.name is not None:
            renamed[match.expand(rule.name)] = rule.change(tensor)
    return renamed


# What Hugging Face calls the parts of a CLIP image tower, and OpenAI.
_HUGGING_FACE = (
    (r"vision_model\.embeddings\.class_embedding", "class_embedding"),
    (r"vision_model\.embeddings\.patch_embedding\.weight", "conv1.weight"),
    (r"vision_model\.embeddings\.position_embedding\.weight", "positional_embedding"),
    (r"vision_model\.pre_layrnorm\.(\w+)", r"ln_pre.\1"),
    (r"vision_model\.post_layernorm\.(\w+)", r"ln_post.\1"),
    (r"vision_model\.encoder\.layers\.(\d+)\.self_attn\.out_proj\.(\w+)",
     r"transformer.resblocks.\1.attn.out_proj.\2"),
    (r"vision_model\.encoder\.layers\.(\d+)\.layer_norm(\d)\.(\w+)",
     r"transformer.resblocks.\1.ln_\2.\3"),
    (r"vision_model\.encoder\.layers\.(\d+)\.mlp\.fc1\.(\w+)",
     r"transformer.resblocks.\1.mlp.c_fc.\2"),
    (r"vision_model\.encoder\.layers\.(\d+)\.mlp\.fc2\.(\w+)",
     r"transformer.resblocks.\1.mlp.c_proj.\2"),
)  # fmt: skip


def from_hugging_face(state: Mapping[str, Tensor]) -> State:
    """Return the image tower of a CLIP model of Hugging Face under OpenAI's names.

    Query, key and value stand in one tensor there. The text tower is left out.
    """
    found: State = {}
    fused: dict[str, dict[str, Tensor]] = {}
    for name, tensor in state.items():
        place = r"vision_model\.encoder\.layers\.(\d+)\.self_attn\.([qkv])_proj\.(\w+)"
        if match := re.fullmatch(place, name):
            whole = f"transformer.resblocks.{match[1]}.attn.in_proj_{match[3]}"
            fused.setdefault(whole, {})[match[2]] = tensor
            continue
        if name == "visual_projection.weight":
            found["proj"] = tensor.t()
        for pattern, here in _HUGGING_FACE:
            if match := re.fullmatch(pattern, name):
                found[match.expand(here)] = tensor
    for name, parts in fused.items():
        if parts.keys() != set("qkv"):
            raise PipelineError(f"the weights hold only {', '.join(sorted(parts))} of {name}")
        found[name] = torch.cat([parts[part] for part in "qkv"])
    return found
