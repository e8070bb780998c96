"""From knobs to the plain dict that MMEngine's Runner takes."""

from pathlib import Path
from typing import Any

from pipeline.errors import PipelineError, did_you_mean
from pipeline.params.config import Params, merge

CONF = Path(__file__).parent.parent / "conf"


def compose(stage: str, params: Params) -> dict[str, Any]:
    """Return the Runner's configuration for a training stage.

    `conf/<stage>.yaml` takes knobs as `${params.<stage>.lr}`; the encoder the knob names comes from
    `conf/encoder/`. `overrides.<stage>` of params.yaml is merged last.

    Raises:
        PipelineError: If the knob names an encoder without a file.
    """
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from omegaconf import OmegaConf, open_dict

    encoder = getattr(params, stage).encoder
    known = [file.stem for file in (CONF / "encoder").glob("*.yaml")]
    if encoder not in known:
        raise PipelineError(
            f"params.yaml: {stage}.encoder is {encoder!r}, not a file of conf/encoder. "
            + did_you_mean(encoder, known)
        )
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = hydra_compose(stage, overrides=[f"encoder={encoder}"])
    with open_dict(config):
        config.params = params.model_dump(mode="json")
    plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    del plain["params"]
    # The Runner calls `.pop` on nested dicts and rejects OmegaConf nodes: hand it a plain dict.
    return merge(plain, params.overrides[stage])
