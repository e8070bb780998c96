"""From a run to the folder that is taken away."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evaluate.publish.card import Origin, card
from evaluate.publish.folder import CARD, CONFIG, ONNX, WEIGHTS, Config, config_of, write
from evaluate.report.behind import trainings
from pipeline import console, paths
from pipeline.errors import PipelineError
from pipeline.files import texts
from train.trained import Trained

if TYPE_CHECKING:
    from pipeline.stage import Stage


def publish(stage: "Stage", folder: Path, licence: str, onnx: bool) -> Config:
    """Write a folder with all that is needed to use a run's model, or replace an earlier one.

    Args:
        stage: The command.
        folder: Where to.
        licence: Of the model; by default what data and weights allow.
        onnx: Whether to write the descriptor as ONNX too.

    Raises:
        PipelineError: If the model or its scores are missing or do not belong together, or other
            files stand in the folder.
    """
    check_free(folder)
    trained = Trained.of(stage)
    config = config_of(stage.key, trained, stage.params.embed.frames)
    origin = origin_of(stage, config, licence)
    made = folder.resolve().with_name(f".{folder.resolve().name}.new")
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(parents=True)
    try:
        # The copy can be written where the model, which DVC may have linked, cannot.
        shutil.copyfile(trained.file, made / WEIGHTS)
        write(made, config)
        (made / CARD).write_text(card(config, origin), encoding="utf-8")
        _try(made, made / ONNX if onnx else None)
        paths.publish_dir(made, folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return config


def check_free(folder: Path) -> None:
    """Check that nothing stands in a folder but what was published before.

    Raises:
        PipelineError: If other files do: they would be lost.
    """
    if folder.exists() and not folder.is_dir():
        raise PipelineError(f"{folder} is a file. Name a folder")
    if not folder.exists() or not any(folder.iterdir()):
        return
    strange = {file.name for file in folder.iterdir()} - {CONFIG, WEIGHTS, CARD, ONNX}
    if strange or not (folder / CONFIG).is_file():
        found = ", ".join(sorted(strange)) or "none of them config.json"
        raise PipelineError(f"{folder} holds other files ({found}). Name another")


def _try(folder: Path, onnx: Path | None) -> None:
    """Load what was written as whoever takes it will, and export it if asked for."""
    from evaluate.describe import Describer

    describer = Describer.load(folder)
    if onnx is None:
        return
    from evaluate.publish.export import export

    found = export(describer, onnx)
    console.say(f"onnx     as PyTorch to {found.difference:.0e}, for any number of clips")
    console.say(
        f"clip     {found.gmacs:.3g} GMACs; {found.onnx_ms:.1f} ms by ONNX Runtime, "
        f"{found.torch_ms:.1f} ms by PyTorch, on this CPU"
    )


def origin_of(stage: "Stage", config: Config, licence: str) -> Origin:
    """Return where a run's model comes from, and how it scored.

    Raises:
        PipelineError: If it was not scored, or another model was.
    """
    fix = f"Run: {stage.rebuild('score')}"
    folder = stage.read(paths.report_dir(stage.key))
    scores = texts.read_scores(folder / "scores.json", fix)
    if scores.get("weights_sha256") != config.weights:
        raise PipelineError(
            f"{folder / 'scores.json'} is of another model than {paths.stage2_file(stage.key)} is "
            f"now. {fix}"
        )
    file = folder / "stage2/metrics.json"
    size: dict[str, Any] = {}
    if file.is_file():
        size = texts.mapping(file, texts.read_json(file, fix), fix).get("model", {})
    return Origin(stage.params.runs[stage.key].test, scores, dict(_starts(stage)), licence, size)


def _starts(stage: "Stage") -> Iterator[tuple[str, str]]:
    """Yield the weights of others that a run's trainings started from, each with its licence."""
    from extract.engine import spec

    for name, key in trainings(stage.params, stage.key):
        lines = stage.params.pretraining if name == "stage1" else stage.params.runs
        start = Path(lines[key].start)
        if start.parts[:1] == ("conf",) or stage.params.starts_from(lines[key]):
            continue
        known = spec.FOLDER / f"{start.name}.yaml"
        yield start.name, spec.load(start.name).licence if known.exists() else "terms of its own"
