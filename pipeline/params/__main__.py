"""Print every knob with its value, where it stands and what it means.

Run it:            python -m pipeline.params
Of one run:        python -m pipeline.params --run mars
Enable a dataset:  python -m pipeline.params --enable mars
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline import console
from pipeline.cli import Overrides, run
from pipeline.errors import PipelineError, did_you_mean
from pipeline.files import texts
from pipeline.params.config import PARAMS, RECIPE, Params, load
from pipeline.params.enable import enable
from pipeline.params.knobs import Section


def main(
    name: Annotated[
        str | None, typer.Option("--run", "-r", help="A run, for the knobs of its recipe.")
    ] = None,
    enabled: Annotated[
        str | None,
        typer.Option(
            "--enable",
            help="A dataset or run: uncomment its lines in params.yaml and what they name.",
        ),
    ] = None,
    overrides: Overrides = None,
) -> None:
    """Print every knob as YAML: its value, the file and line it stands in, what it means."""
    if enabled is not None:
        enable(enabled)
        return
    recipe = PARAMS
    if name is not None:
        lines = (params := load(overrides or ())).pretraining | params.runs
        if name not in lines:
            raise PipelineError(f"{PARAMS}: no run {name}. {did_you_mean(name, lines)}")
        recipe = Path(lines[name].recipe)
    params = load(overrides or (), recipe)
    places = {
        key: place
        for file in dict.fromkeys((PARAMS, recipe))
        for key, place in _places(file)
        if (key[0] in RECIPE) == (file == recipe) or recipe == PARAMS
    }
    for line in rows(params, places):
        console.say(line)


def rows(params: Params, places: dict[tuple[str, ...], str]) -> Iterator[str]:
    """Yield the lines of the listing.

    Args:
        params: The knobs.
        places: File and line of each key.
    """
    for name, section in params:
        if not isinstance(section, Section):
            yield f"{name}: {_inline(_plain(section))}  # {places.get((name,), 'a default')}"
            continue
        yield f"{name}:  # {type(section).__doc__}"
        for key, value in section:
            field = type(section).model_fields[key]
            key = field.alias or key
            place = places.get((name, key), "a default")
            yield f"  {key}: {_inline(_plain(value))}  # {place}: {field.description or ''}".rstrip(
                ": "
            )


def _plain(value: Any) -> Any:
    if isinstance(value, Section):
        return value.model_dump(mode="json", by_alias=True)
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    return list(value) if isinstance(value, tuple) else value


def _inline(value: Any) -> str:
    import yaml

    text = yaml.safe_dump(value, default_flow_style=True, width=10_000, sort_keys=False)
    return text.removesuffix("\n").removesuffix("\n...")


def _places(file: Path) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield file and line of every key of a YAML file, however deep."""
    import yaml

    def walk(node: Any, above: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                path = (*above, str(key.value))
                yield path, f"{file}:{key.start_mark.line + 1}"
                yield from walk(value, path)

    yield from walk(yaml.compose(texts.read(file, "Name another")), ())


if __name__ == "__main__":
    run(main)
