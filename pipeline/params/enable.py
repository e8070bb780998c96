"""Uncomment the lines of params.yaml that a dataset or a run needs."""

import re
from collections.abc import Iterator
from typing import Any

from pipeline import console, paths
from pipeline.errors import PipelineError, did_you_mean
from pipeline.params.config import PARAMS, load

# Sections whose lines have names; a dataset stands in one of the first two.
NAMED = ("datasets", "kinect", "pretraining", "runs")
_SECTION = re.compile(r"(\w+):")
# `  # mars: {...}`
_COMMENTED = re.compile(r"\s+#\s*([\w.-]+): *\{")
_START = re.compile(r"models/([\w.-]+)/(stage[12])\.safetensors|data/weights/([\w.-]+)")

Line = tuple[str, str]


def enable(name: str) -> None:
    """Uncomment the lines called `name`, and those that they name; say what to do next.

    Args:
        name: A dataset or a run.

    Raises:
        PipelineError: If params.yaml has no such line, or would not be valid with it. It is then
            left as it is.
    """
    load()
    load()
    # Not by lines: what ends them stays as it is.
    text = PARAMS.read_bytes().decode("utf-8-sig")
    changed, lines = uncommented(text, name)
    if lines:
        with paths.write_atomic(PARAMS) as temporary:
            temporary.write_bytes(changed.encode())
            try:
                load(path=temporary)
            except PipelineError as error:
                why = str(error).replace(str(temporary), str(PARAMS))
                raise PipelineError(f"{PARAMS} is left as it is. With {name}, {why}") from None
    shown = ", ".join(f"{section}.{line}" for section, line in lines)
    console.say(f"enabled  {shown}" if lines else f"{name} is enabled already")
    _say_what_is_next(name)


def uncommented(text: str, name: str) -> tuple[str, list[Line]]:
    """Return params.yaml with the lines that `name` needs, and which were added to it.

    Args:
        text: The file.
        name: A dataset or a run.

    Raises:
        PipelineError: If a line is needed that stands there neither enabled nor commented out.
    """
    rows = text.splitlines(keepends=True)
    headers, commented = _places(rows)
    known = _values(text)
    needed: list[Line] = [
        (section, name) for section in NAMED if (section, name) in known.keys() | commented.keys()
    ]
    if not needed:
        names = {key for _, key in commented}
        hint = did_you_mean(name, names) if names else "Add it: docs/adding_a_dataset.md"
        raise PipelineError(f"{PARAMS} has no line {name} to uncomment. {hint}")
    added: list[Line] = []
    # The list grows while it is walked through: by what its lines name.
    for line in needed:
        if line not in known:
            header = headers[line[0]]
            if line[0] == "weights":
                rows[header] = _with_weights(rows[header], line[1])
            else:
                number = _commented(line, commented)
                rows[number] = re.sub(r"#\s*", "", rows[number], count=1)
                rows[header] = re.sub(r": *\{\}", ":", rows[header], count=1)
            known = _values("".join(rows))
            added.append(line)
        needed += [one for one in _named_by(known[line], known, commented) if one not in needed]
    return "".join(rows), added


def _places(rows: list[str]) -> tuple[dict[str, int], dict[Line, int]]:
    """Return the row of every section, and that of every line which is commented out."""
    headers: dict[str, int] = {}
    commented: dict[Line, int] = {}
    section = ""
    for number, row in enumerate(rows):
        if found := _SECTION.match(row):
            section = found[1]
            headers[section] = number
        elif section in NAMED and (found := _COMMENTED.match(row)):
            commented.setdefault((section, found[1]), number)
    return headers, commented


def _values(text: str) -> dict[Line, Any]:
    """Return what the enabled lines say."""
    import yaml

    try:
        knobs = yaml.safe_load(text)
    except yaml.YAMLError as error:
        why = " ".join(str(error).split())
        raise PipelineError(f"{PARAMS} is left as it is: it would be no YAML ({why})") from None
    found = {(one, key): line for one in NAMED for key, line in (knobs[one] or {}).items()}
    return found | {("weights", key): {} for key in knobs["weights"]}


def _with_weights(row: str, name: str) -> str:
    """Return `weights: [...]`, or the row above a list, with one name more."""
    if not (paths.ROOT / "conf" / "weights" / f"{name}.yaml").exists():
        raise PipelineError(
            f"{PARAMS} is left as it is: there is no conf/weights/{name}.yaml. Add it, or name "
            "other weights"
        )
    if "[" not in row:
        end = row[len(row.rstrip()) :]
        return f"{row.rstrip()}{end}  - {name}{end}"
    return re.sub(r"\[(\s*\]|)", lambda found: f"[{name}{found[1].strip() or ', '}", row, count=1)


def _commented(line: Line, commented: dict[Line, int]) -> int:
    if line not in commented:
        section, name = line
        raise PipelineError(
            f"{PARAMS} is left as it is: it has no line {name}. Add one to {section}"
        )
    return commented[line]


def _named_by(values: dict[str, Any], *known: dict[Line, Any]) -> Iterator[Line]:
    """Yield the lines that a line needs beside itself."""
    for key in ("pose2d", "pose3d"):
        if key in values:
            yield "weights", values[key]
    for key in ("train", "test"):
        if key in values:
            is_kinect = any(("kinect", values[key]) in lines for lines in known)
            yield "kinect" if is_kinect else "datasets", values[key]
    if found := _START.match(str(values.get("start", ""))):
        section = {"stage1": "pretraining", "stage2": "runs", None: "weights"}[found[2]]
        yield section, found[1] or found[3]


def _say_what_is_next(name: str) -> None:
    params = load()
    runs = [key for key, run in params.runs.items() if name in (key, run.train, run.test)]
    used = {params.runs[key].train for key in runs} | {params.runs[key].test for key in runs}
    for dataset in sorted(used or {name}):
        root = paths.dataset_root(dataset)
        if not root.exists() and dataset != "walkers":
            console.say(f"data     put {dataset} into {root} (docs/datasets.md)")
    last = "kinect" if name in params.kinect else "shards"
    targets = [f"report@{key}" for key in runs] or [f"{last}@{name}"]
    console.say(f"next     dvc repro {' '.join(targets)}")
