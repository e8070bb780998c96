"""Contrastive skeleton-image pretraining.

Run one data set:   python -m train.stage1 --dataset walkers
"""

from typing import TYPE_CHECKING

from pipeline import paths
from pipeline.cli import Dataset, DryRun, Limit, Overrides, Quiet, Stage, Verbose, run, start

if TYPE_CHECKING:
    from train.run import Training


def main(
    dataset: Dataset,
    overrides: Overrides = None,
    limit: Limit = 0,
    dry_run: DryRun = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Train the skeleton encoder to agree with the visual one (stage 1).

    Writes models/<dataset>/stage1.safetensors, and curves to reports/<dataset>/stage1/.
    A stopped run continues where its last epoch ended.

    Example: python -m train.stage1 --dataset walkers stage1.epochs=5
    """
    stage = start("stage1", dataset, overrides, limit, dry_run, verbose, quiet)
    from pipeline import console

    training = prepare(stage)
    if dry_run:
        training.plan()
    elif training.is_done():
        console.say(f"{training.output} is up to date")
    else:
        about = {"stage": "stage1", "encoder": stage.params.stage1.encoder}
        training.train(about, f"python -m train.stage2 --dataset {dataset}")


def prepare(stage: Stage) -> "Training":
    """Compose the run and check that it can work."""
    from pipeline.compose import compose
    from train.run import Training, choose_device, shard_files

    choose_device(stage.params.runtime.device)
    files = shard_files(stage)
    config = compose("stage1", stage.params)
    config["train_dataloader"]["dataset"] |= {
        "root": str(paths.shards_dir(stage.dataset)),
        "limit": stage.limit,
    }
    return Training(stage, config, files, stage.out(paths.stage1_file(stage.dataset)))


if __name__ == "__main__":
    run(main)
