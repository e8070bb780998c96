"""What a training starts from: its shards, its weights, its data set."""

from pathlib import Path
from typing import Any

from pipeline import paths, schema
from pipeline.errors import PipelineError
from pipeline.names import listed
from pipeline.stage import Stage
from train.data.columns import OF_CAPTIONS
from train.registry import DATASETS, MODELS
from train.run.compose import Config
from train.weights.checkpoint import made_by, published


def report_dir(stage: Stage) -> Path:
    """Return the folder of a training stage's curves."""
    return stage.out(paths.report_dir(stage.key) / stage.name)


def shards_of(stage: Stage) -> Path:
    """Return the folder of the shards of the stage's dataset."""
    return stage.read(paths.shards_dir(stage.dataset))


def shard_files(stage: Stage) -> tuple[Path, ...]:
    """Return the training shards of the stage's dataset.

    Raises:
        PipelineError: If there are none.
    """
    files = sorted(shards_of(stage).glob("train-*.parquet"))
    if not files:
        if any(shards_of(stage).glob("*.parquet")):
            raise PipelineError(
                f"{stage.dataset} has no training split: it can be tested on, not trained on. "
                "Name another dataset in the run's line: train"
            )
        raise PipelineError(f"{shards_of(stage)} holds no shards. Run: {stage.rebuild('shards')}")
    return tuple(files)


def take_data(stage: Stage, config: Config) -> None:
    """Let the data set read the stage's shards, without those who are held out."""
    config["train_dataloader"]["dataset"] |= {
        "root": str(shards_of(stage)),
        "limit": stage.limit,
        "held_out": stage.params.stage2.held_out,
    }


def use_joints(config: Config) -> None:
    """Take the graph of the skeleton encoder, and who mirrors whom, from the shards."""
    from shards.read import Shards

    model, data = config["model"], config["train_dataloader"]["dataset"]
    joints = Shards(Path(data["root"])).layout.name
    if joints == model["skeleton"]["joints"]:
        return
    model["skeleton"]["joints"] = joints
    for transform in data["transforms"]:
        if transform["type"] == "train.data.transforms.ClipFlip":
            transform["joints"] = joints


def take_needs(config: Config) -> list[str]:
    """Let the data set give what the system and its parts need; return what they need at test.

    Raises:
        PipelineError: If the system has no such term of a loss or part to leave out.
    """
    data = config["train_dataloader"]["dataset"]
    model = config["model"]
    kind: Any = MODELS.get(model["type"])
    kind.check(model.get("weights") or {}, model.get("without") or ())
    data["needs"] = sorted(_needs(model, "needs"))
    if not kind.reads_pids:
        data["each_is_a_class"] = True
    return sorted(_needs(model, "needs_at_test"))


def take_captions(stage: Stage, config: Config) -> tuple[Path, ...]:
    """Let the data set read sentences where the system needs them; return the file they are in.

    Raises:
        PipelineError: If it is not there.
    """
    data = config["train_dataloader"]["dataset"]
    if not set(data["needs"]) & set(OF_CAPTIONS):
        return ()
    file = stage.read(paths.captions_file(stage.dataset))
    schema.check(file, schema.CAPTIONS, stage.rebuild("captions"))
    data["captions"] = str(file)
    return (file,)


def _needs(config: Any, when: str) -> set[str]:
    found: set[str] = set()
    if isinstance(config, dict):
        if isinstance(name := config.get("type"), str) and "." in name:
            found |= getattr(MODELS.get(name), when, frozenset())
        config = list(config.values())
    for one in config if isinstance(config, list) else ():
        found |= _needs(one, when)
    return found


def take_start(stage: Stage, config: Config) -> tuple[Path, ...]:
    """Let a configuration start from what the run's line names; return the files behind it.

    That is a model of this project, whose towers are taken; weights that others published, for the
    visual encoder; or a file of conf/, and nothing is taken.

    Raises:
        PipelineError: If it is not there, or belongs to another encoder.
    """
    start = stage.read(Path(stage.line.start))
    if start.suffix == ".yaml":
        return ()
    if start.suffix == ".safetensors" and start.exists() and (about := published(start)):
        _check_published(stage, config, start, about)
        hook = {"type": "train.run.hooks.TowersHook", "path": str(start)}
        config["custom_hooks"] = [*config.get("custom_hooks", []), hook]
        return (start,)
    found = [start] if start.is_file() else [f for f in listed(start, "*") if f.is_file()]
    if not found:
        raise PipelineError(f"{start} is missing. {_how_to_get(stage, start)}")
    if config["model"].get("visual") is None:
        raise PipelineError(f"{stage.line.model} has no visual encoder to start from {start}")
    config["model"]["visual"]["weights"] = str(start)
    return tuple(found)


def _how_to_get(stage: Stage, start: Path) -> str:
    if start.parent == paths.weights_dir(start.name).parent:
        if start.name not in stage.params.weights:
            return f"Add {start.name} under weights in params.yaml, then run dvc repro again"
        return f"Run: dvc repro weights@{start.name}"
    command = made_by(start)
    put = f"Put the file there, or change start of {stage.key} in params.yaml"
    return f"Run: {command}" if command else put


def _check_published(stage: Stage, config: Config, start: Path, about: Config) -> None:
    """Check that towers published earlier are those of this run.

    Raises:
        PipelineError: With the line to change.
    """
    own = stage.line.encoder or stage.params.encoder_of(stage.key)
    if about.get("encoder") != own:
        raise PipelineError(
            f"{start} was trained with the encoder {about.get('encoder')}, but {stage.key} names "
            f"{own}. Change encoder or start of its line in params.yaml"
        )
    skeleton = config["model"].get("skeleton")
    theirs = about.get("skeleton")
    if skeleton is not None and theirs is not None and theirs != skeleton:
        changed = sorted(key for key in skeleton if skeleton[key] != theirs.get(key))
        raise PipelineError(
            f"{start} was trained with another skeleton encoder ({', '.join(changed)} differ). "
            f"Set stage1.skeleton of {stage.line.recipe} to the same"
        )
    held_out = stage.params.stage2.held_out
    if about.get("held_out", 0) != held_out:
        raise PipelineError(
            f"{start} was trained with stage2.held_out={about.get('held_out', 0)}, but now it is "
            f"{held_out}: both stages must hold out the same people. {_how_to_get(stage, start)}"
        )


def fit_sampler(stage: Stage, config: Config) -> int:
    """Return the number of training identities; a trial of a few draws batches of fewer."""
    identities = len(build_dataset(config).pids)
    sampler = config["train_dataloader"]["sampler"]
    if stage.limit:
        sampler["identities"] = min(sampler["identities"], identities)
    return identities


def build_dataset(config: Config) -> Any:
    """Build the training data of a configuration."""
    return DATASETS.build(dict(config["train_dataloader"]["dataset"]))
