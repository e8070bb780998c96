"""From knobs to the plain dict that MMEngine's Runner takes, checked before anything runs."""

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from functools import cache
from typing import Any

from pipeline import paths
from pipeline.errors import PipelineError, did_you_mean
from pipeline.params.config import Params, merge

Config = dict[str, Any]


def compose(stage: str, params: Params, encoder: str, model: str | None = None) -> Config:
    """Return the Runner's configuration for a training stage.

    `conf/<stage>.yaml` takes knobs as `${params.<stage>.lr}`; the encoder comes from
    `conf/encoder/`, the system from `conf/model/`. Then come `<stage>.settings` of the system, and
    at last `overrides.<stage>`.

    Raises:
        PipelineError: If there is no such encoder or system, or a class or one of its arguments is
            misspelt.
    """
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from omegaconf import OmegaConf, open_dict

    choices = {"encoder": encoder} | ({"model": model} if model else {})
    for kind, name in choices.items():
        known = [file.stem for file in (paths.ROOT / "conf" / kind).glob("*.yaml")]
        if name not in known:
            raise PipelineError(
                f"params.yaml: {kind} {name!r} is no file of conf/{kind}/. "
                + did_you_mean(str(name), known)
            )
    with initialize_config_dir(str(paths.ROOT / "conf"), version_base="1.3"):
        config = hydra_compose(stage, overrides=[f"{kind}={one}" for kind, one in choices.items()])
    with open_dict(config):
        config.params = params.model_dump(mode="json")
    plain: Any = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    del plain["params"]
    if "type" not in plain["model"]["visual"]:
        # The encoder `none` says how large features are, no more.
        del plain["model"]["visual"]
    if stage == "stage2":
        plain["model"] = merge(plain["model"], params.stage2.settings)
    # The Runner calls `.pop` on nested dicts and rejects OmegaConf nodes: hand it a plain dict.
    plain = merge(plain, params.overrides[stage])
    check(plain)
    return plain


def check(config: Any) -> None:
    """Check that every class that a configuration names in full exists and takes its arguments.

    Raises:
        PipelineError: If not; the message names the nearest right one.
    """
    for one in _parts(config):
        name = one["type"]
        if "." in name:
            known = _arguments(_find(name), one)
            for key in one.keys() - {"type"} - known if known is not None else ():
                raise PipelineError(
                    f"{name} takes no argument {key}. {did_you_mean(key, known or ())}"
                )


def _parts(config: Any) -> Iterator[Config]:
    if isinstance(config, dict):
        if isinstance(config.get("type"), str):
            yield config
        for value in config.values():
            yield from _parts(value)
    elif isinstance(config, list):
        for value in config:
            yield from _parts(value)


def _find(name: str) -> Any:
    """Return the class of a full name."""
    module, _, leaf = name.rpartition(".")
    try:
        return getattr(importlib.import_module(module), leaf)
    except (ImportError, AttributeError):
        raise PipelineError(f"there is no class {name}. {did_you_mean(name, _classes())}") from None


@cache
def _classes() -> tuple[str, ...]:
    """Return the full names of all classes of this project that a configuration may name."""
    import train

    found = []
    for module in pkgutil.walk_packages(train.__path__, "train."):
        if module.ispkg or module.name.count(".") < 2:
            continue
        for name, one in vars(importlib.import_module(module.name)).items():
            if inspect.isclass(one) and one.__module__ == module.name and name[0] != "_":
                found.append(f"{module.name}.{name}")
    return tuple(found)


def _arguments(made: type, config: Config) -> set[str] | None:
    """Return the arguments that a class takes, with those that it hands on.

    It hands them on to the classes it is made from, or to what its `passes_on` names.

    Returns:
        Their names; None if nobody can say which they are.
    """
    from mmengine.optim import OptimWrapper

    # MMEngine takes these out before it builds the wrapper.
    known = {"constructor", "paramwise_cfg"} if issubclass(made, OptimWrapper) else set()
    for one in inspect.getmro(made):
        if "__init__" not in vars(one):
            continue
        parameters = inspect.signature(one).parameters.values()
        known |= {own.name for own in parameters if own.kind != own.VAR_KEYWORD}
        if all(own.kind != own.VAR_KEYWORD for own in parameters):
            return known
        if hasattr(one, "passes_on"):
            taker = one.passes_on(config)
            further = _arguments(taker, {}) if inspect.isclass(taker) else None
            return None if further is None else known | further
    return None
