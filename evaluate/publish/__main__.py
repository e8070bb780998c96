"""Make a folder of a trained model that stands alone: weights, what it needs, and a model card.

Run:   python -m evaluate.publish --run walkers --out walkers_model
"""

from pathlib import Path
from typing import Annotated

import typer

from pipeline import cli, console, paths
from pipeline.paths import file_name
from pipeline.stage import start


def main(
    run: cli.Run,
    overrides: cli.Overrides = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The folder; by default work/published/RUN.")
    ] = None,
    onnx: Annotated[
        bool, typer.Option("--onnx", help="Write the descriptor as ONNX too, and time it.")
    ] = False,
    hub: Annotated[
        str, typer.Option(help="Send the folder to OWNER/NAME of the Hugging Face hub.")
    ] = "",
    public: Annotated[
        bool, typer.Option("--public", help="A new repository there can be seen by all.")
    ] = False,
    licence: Annotated[
        str, typer.Option(help="Of the model; by default what data and weights allow.")
    ] = "",
    trial: cli.Try = "",
    verbose: cli.Verbose = False,
    quiet: cli.Quiet = False,
) -> None:
    """Make a folder of a trained model that can be used without this repository's data and DVC.

    It holds model.safetensors, config.json and README.md, the model card. Its reader is
    evaluate.describe.Describer.

    Example: python -m evaluate.publish --run walkers --out walkers_model
    """
    cli.set_output(verbose, quiet)
    stage = start("publish", run, overrides, trial=trial)
    from evaluate.publish.make import publish

    folder = out or paths.WORK / "published" / file_name(run)
    publish(stage, folder, licence, onnx)
    if hub:
        from evaluate.publish.hub import send

        console.say(f"sent     {send(folder, hub, public)}")
    size = sum(file.stat().st_size for file in folder.iterdir())
    console.summary(folder, console.size(size), "docs/taking_a_model_away.md")


if __name__ == "__main__":
    cli.run(main)
