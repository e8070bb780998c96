"""What a run comes of: the stages before its report, and what each of them worked on."""

from typing import TYPE_CHECKING

from pipeline import graph

if TYPE_CHECKING:
    from pipeline.params.config import Params
    from pipeline.params.knobs import PretrainingParams, RunParams

# A stage of dvc.yaml, and the dataset, weights or run that it works on.
Made = tuple[str, str]


def trainings(params: "Params", run: str) -> list[Made]:
    """Return the trainings behind a run in their order: those it starts from, and its own."""
    made: list[Made] = [("stage2", run)]
    # A circle of runs that start from each other ends where it closes.
    while (first := params.starts_from(_line(params, made[0]))) and first not in made:
        made.insert(0, first)
    return made


def made_before(params: "Params", run: str) -> list[Made]:
    """Return all that is made before a run's report, in the order of dvc.yaml.

    That is what belongs to the datasets it was trained and is tested on, to the trainings whose
    weights it starts from, and to itself.
    """
    trained = trainings(params, run)
    lines = [_line(params, one) for one in trained]
    datasets = list(dict.fromkeys([*(line.train for line in lines), params.runs[run].test]))
    pictures = [name for name in datasets if name in params.datasets]
    # Sentences are read where a system is trained, and by the last stage alone.
    taught = {line.train for line, made in zip(lines, trained, strict=True) if made[0] == "stage2"}
    kinds = ("pose2d", "pose3d")
    weights = [getattr(params.datasets[name], kind) for name in pictures for kind in kinds]
    weights += [line.start.removeprefix("data/weights/") for line in lines]
    return [
        *(("walkers", name) for name in datasets if name == "walkers"),
        *(("weights", name) for name in dict.fromkeys(weights) if name in params.weights),
        *(
            (stage, name)
            for stage in _stages_of("datasets")
            for name in pictures
            if stage != "captions" or name in taught
        ),
        *(("kinect", name) for name in datasets if name in params.kinect),
        *trained,
        *((stage, run) for stage in _stages_of("runs") if stage not in ("stage2", "report")),
    ]


def name_of(made: Made) -> str:
    """Return a stage as DVC calls it.

    >>> name_of(("pose2d", "mars")), name_of(("walkers", "walkers"))
    ('pose2d@mars', 'walkers')
    """
    return made[0] if made[0] == "walkers" else "@".join(made)


def _stages_of(section: str) -> list[str]:
    return [stage for stage in graph.stages() if graph.section(stage) == section]


def _line(params: "Params", made: Made) -> "PretrainingParams | RunParams":
    return params.pretraining[made[1]] if made[0] == "stage1" else params.runs[made[1]]
