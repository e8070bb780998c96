"""From a stage's configuration to published weights, by way of MMEngine's Runner."""

import hashlib
import json
import shutil
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
from mmengine.dist import barrier, is_main_process
from mmengine.runner import Runner
from torch import nn

from pipeline import console, paths
from pipeline.cli import Stage
from pipeline.errors import PipelineError
from pipeline.lock import locked
from pipeline.openmmlab import safe_loading
from train.registry import DATASETS
from train.run.finite import check_weights
from train.run.hooks import latest_checkpoint, result
from train.run.processes import runner_settings, world
from train.weights.checkpoint import load, save

Config = dict[str, Any]


@dataclass(frozen=True)
class Training:
    """One training run of one stage.

    Attributes:
        stage: The command.
        config: The Runner's configuration as composed; what decides the result, nothing else.
        inputs: Files the result depends on.
        output: Where the weights are published.
        report: Where the curves, the resolved configuration and the model's size are.
        before: A run that has to come first, if any.
    """

    stage: Stage
    config: Config
    inputs: tuple[Path, ...]
    output: Path
    report: Path
    before: "Training | None" = None

    @cached_property
    def fingerprint(self) -> str:
        """Hex digits that change with the configuration, the inputs and the code."""
        return digest(self.config, self.inputs)

    @property
    def work(self) -> Path:
        """Folder of checkpoints and unfinished curves."""
        return paths.work_dir(self.stage.name, self.stage.dataset, self.fingerprint)

    def is_done(self) -> bool:
        """Return whether the published weights are those that this run would make."""
        if not self.output.exists():
            return False
        return load(self.output)[1].get("about", {}).get("fingerprint") == self.fingerprint

    def plan(self) -> None:
        """Print what would be done."""
        dataset = build_dataset(self.config)
        checkpoint = latest_checkpoint(self.work)
        done = int(checkpoint.stem.removeprefix("epoch_")) if checkpoint else 0
        rows = [
            ("tracklets", len(dataset)),
            ("identities", len(dataset.pids)),
            ("epochs", self.config["train_cfg"]["max_epochs"]),
            ("epochs done", self.config["train_cfg"]["max_epochs"] if self.is_done() else done),
            ("device", "cuda" if torch.cuda.is_available() else "cpu"),
            ("weights", self.output),
        ]
        if self.before:
            epochs = self.before.config["train_cfg"]["max_epochs"]
            state = "done" if self.before.is_done() else f"{epochs} epochs"
            rows.insert(2, ("first " + self.before.config["model"]["type"], state))
        console.table(f"{self.stage.name} of {self.stage.dataset}", ("what", "value"), rows)

    def train(self, about: Config, then: str | None = None, data: Config | None = None) -> None:
        """Train to the end, continuing an earlier run, and publish.

        Args:
            about: What a later stage should know of the weights.
            then: What to run next; None if this goes on by itself.
            data: Data set to read in place of the configuration's, when it gives the same faster.
        """
        if self.before and not self.before.is_done():
            self.before.train({})
            # The others may not look for its weights before the first process has written them.
            barrier()
        with locked(self.work, self.output) if is_main_process() else nullcontext():
            self._train(about, then, data)

    def _train(self, about: Config, then: str | None, data: Config | None) -> None:
        config = self._runner_config()
        if data:
            config["train_dataloader"]["dataset"] = data
        runner = Runner.from_cfg(config)
        model = getattr(runner.model, "module", runner.model)
        if self.stage.params.runtime.compile and model.visual is not None:
            # The visual encoder is where the time goes, and one graph; the losses are many small
            # ones, as they look at their data.
            model.visual.compile()
        runner.train()
        # Its workers would stay until Python happens to collect them, and then take ten seconds.
        runner.train_dataloader._iterator = None
        if not is_main_process():
            return
        model = result(runner)
        runner.visualizer.close()
        epoch = self._take_best(model, runner)
        check_weights(model, self.stage.name)
        self._publish_report(model, runner)
        save(
            self.output, model, {"about": about | {"epoch": epoch, "fingerprint": self.fingerprint}}
        )
        shutil.rmtree(self.work)
        if then:
            amount = f"{runner.max_epochs} epochs, {count(model) / 1e6:.2f} million parameters"
            console.summary(self.output, amount, then)

    def _take_best(self, model: nn.Module, runner: Runner) -> int:
        """Go back to the best epoch where identities were held out; return which it was."""
        best = runner.message_hub.runtime_info.get("best")
        if best is None:
            return runner.max_epochs
        model.load_state_dict(torch.load(self.work / "best.pth", weights_only=True))
        return best["epoch"]

    def _runner_config(self) -> Config:
        """Add to the configuration what does not decide the result."""
        safe_loading()
        config = json.loads(json.dumps(self.config))
        loader = config["train_dataloader"]
        sampler = loader["sampler"]
        workers = self.stage.params.runtime.workers
        loader |= {
            "batch_size": sampler["identities"] * sampler["clips"] // world(),
            "num_workers": workers,
            "persistent_workers": workers > 0,
            "pin_memory": torch.cuda.is_available(),
            "collate_fn": {"type": "default_collate"},
        }
        console.say(f"{config['model']['type']}, {config['train_cfg']['max_epochs']} epochs")
        checkpoint = latest_checkpoint(self.work)
        if checkpoint:
            console.say(f"continuing after {checkpoint.stem.replace('_', ' ')}")
        interval = self.stage.params.runtime.checkpoint_epochs
        return config | {
            "work_dir": str(self.work),
            # MMEngine keeps its objects by name in the process: two runs must not share one.
            "experiment_name": uuid4().hex,
            "default_scope": "pipeline",
            "log_level": "WARNING",
            "load_from": str(checkpoint) if checkpoint else None,
            "resume": checkpoint is not None,
            # Those that are switched off keep histories that nothing here reads.
            "default_hooks": {
                "runtime_info": None,
                "timer": None,
                "logger": None,
                "checkpoint": {"type": "ResumeHook", "interval": interval},
            },
            "custom_hooks": [
                *config.get("custom_hooks", []),
                {"type": "SeedHook"},
                {"type": "FiniteHook", "section": self.stage.name},
                {"type": "EpochLogHook"},
            ],
            "visualizer": {
                "type": "Visualizer",
                "vis_backends": self._curves(),
            },
            **runner_settings(),
        }

    def _curves(self) -> list[Config]:
        """Return who writes the curves, for `dvc plots` and, if asked for, for TensorBoard."""
        backends = [{"type": "StageLiveBackend", "save_dir": str(self.work / "curves")}]
        if self.stage.params.runtime.tensorboard:
            if find_spec("tensorboard") is None:
                raise PipelineError(
                    "runtime.tensorboard is true, but TensorBoard is not installed. "
                    "Run: pip install tensorboard"
                )
            folder = paths.work_dir("tensorboard", self.stage.dataset, self.stage.name)
            backends.append({"type": "TensorboardVisBackend", "save_dir": str(folder)})
        return backends

    def _publish_report(self, model: nn.Module, runner: Runner) -> None:
        from omegaconf import OmegaConf

        made = self.work / "curves"
        OmegaConf.save(OmegaConf.create(self.config), made / "config.yaml")
        file = made / "metrics.json"
        metrics = json.loads(file.read_text()) | {"model": sizes(model, runner.train_dataloader)}
        file.write_text(json.dumps(metrics, indent=2) + "\n")
        paths.publish_dir(made, self.report)


def report_dir(stage: Stage) -> Path:
    """Return the folder of a training stage's curves."""
    return stage.out(paths.report_dir(stage.dataset) / stage.name)


def shard_files(stage: Stage) -> tuple[Path, ...]:
    """Return the training shards of the stage's dataset.

    Raises:
        PipelineError: If there are none.
    """
    files = sorted(paths.shards_dir(stage.dataset).glob("train-*.parquet"))
    if not files:
        raise PipelineError(
            f"{paths.shards_dir(stage.dataset)} holds no training shards. "
            f"Run: {stage.rebuild('shards')}"
        )
    return tuple(files)


def weight_files(config: Config) -> tuple[Path, ...]:
    """Return the files of pretrained weights that the visual encoder starts from.

    Raises:
        PipelineError: If they are not there.
    """
    weights = config["model"].get("visual", {}).get("weights")
    if weights in (None, "hub"):
        return ()
    path = Path(weights)
    files = [path] if path.is_file() else sorted(file for file in path.glob("*") if file.is_file())
    if not files:
        raise PipelineError(
            f"{path} holds no weights. Run: python -m extract.weights --model {path.name}"
        )
    return tuple(files)


def digest(config: Config, files: Iterable[Path]) -> str:
    """Return 12 hex digits that change with a configuration, with files, and with this package."""
    made = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
    for file in (*files, *sorted(Path(__file__).parents[1].rglob("*.py"))):
        with file.open("rb") as opened:
            made.update(hashlib.file_digest(opened, "sha256").digest())
    return made.hexdigest()[:12]


def count(module: nn.Module) -> int:
    """Return the number of parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


def sizes(model: nn.Module, loader: Any) -> dict[str, Any]:
    """Return parameter counts, and the cost of describing one clip by frame in GMACs."""
    from torch.utils.flop_counter import FlopCounterMode

    clip = loader.collate_fn([loader.dataset[0]])
    model.eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.test_step(clip)
    frames = clip["inputs"]["mask"].shape[1]
    return {
        "parameters": count(model),
        "parameters_trained": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "gmacs_per_frame": round(counter.get_total_flops() / 2 / frames / 1e9, 6),
    }


def build_dataset(config: Config) -> Any:
    """Build the training data of a configuration."""
    return DATASETS.build(dict(config["train_dataloader"]["dataset"]))
