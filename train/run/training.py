"""From a stage's configuration to published weights, by way of MMEngine's Runner."""

import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
from mmengine.dist import barrier, is_main_process
from mmengine.runner import Runner
from torch import nn

from pipeline import console, machine, paths
from pipeline.code.fingerprint import fingerprint, is_done, note_done
from pipeline.code.hashes import digest
from pipeline.errors import PipelineError
from pipeline.files.reading import reading
from pipeline.files.tensors import read_pickle
from pipeline.lock import locked
from pipeline.openmmlab import safe_loading
from pipeline.params.knobs import RuntimeParams
from pipeline.stage import Stage
from train.registry import MODELS
from train.run.checkpoints import best_file, latest_checkpoint
from train.run.compose import Config
from train.run.finite import check_weights
from train.run.hooks import result
from train.run.processes import bare, runner_settings, world
from train.run.setup import build_dataset
from train.weights.checkpoint import save


@dataclass(frozen=True)
class Training:
    """One training run of one stage.

    Attributes:
        stage: The command.
        config: The Runner's configuration as composed; what decides the result, nothing else.
        inputs: Files the result depends on.
        output: Where the weights are published.
        report: Where the curves, the resolved configuration and the model's size are.
        about: What a reader of the weights should know.
        then: The stage to run next; empty for a run that is part of another.
        before: A run that has to come first, if any.
        faster: Returns a data set that gives the same as the configuration's, but faster.
        learn: Asked of the finished model; what it finds out is published with the weights.
    """

    stage: Stage
    config: Config
    inputs: tuple[Path, ...]
    output: Path
    report: Path
    about: Config = field(default_factory=dict)
    then: str = ""
    before: "Training | None" = None
    faster: Callable[[], Config] | None = None
    learn: Callable[[nn.Module, Runner], Config] | None = None

    @cached_property
    def fingerprint(self) -> str:
        """Hex digits that change with the configuration, the inputs and the code."""
        code = digest(self.stage.name, self.stage.key, self.stage.params)
        return fingerprint(*self.inputs, code=code, config=self.config)

    @property
    def work(self) -> Path:
        """Folder of checkpoints and unfinished curves."""
        return self.stage.work(self.fingerprint)

    @property
    def curve(self) -> Path:
        """The numbers of all epochs as one table."""
        return self.report.with_suffix(".tsv")

    def is_done(self) -> bool:
        """Return whether what is published is what this run would make."""
        return is_done(self.fingerprint, self.output, self.report, self.curve)

    def plan(self) -> None:
        """Print what would be done; what could not be built is refused here already."""
        dataset = build_dataset(self.config)
        described = json.loads(json.dumps(self.config["model"]))
        if described.get("visual"):
            # Its size is the same without weights, which a plan does not fetch.
            described["visual"]["weights"] = None
        model = MODELS.build(described)
        checkpoint = latest_checkpoint(self.work)
        epochs = self.config["train_cfg"]["max_epochs"]
        done = int(checkpoint.stem.removeprefix("epoch_")) if checkpoint else 0
        rows = [
            ("tracklets", len(dataset)),
            ("identities", len(dataset.pids)),
            ("epochs", epochs),
            ("epochs done", epochs if self.is_done() else done),
            ("parameters", f"{count(model) / 1e6:.2f} million"),
            ("device", "cuda" if torch.cuda.is_available() else "cpu"),
            ("weights", self.output),
        ]
        if self.before:
            epochs = self.before.config["train_cfg"]["max_epochs"]
            state = "done" if self.before.is_done() else f"{epochs} epochs"
            rows.insert(2, ("first " + _name(self.before.config), state))
        console.table(f"{self.stage.name} of {self.stage.key}", ("what", "value"), rows)

    def make(self) -> str:
        """Train to the end, continuing an earlier run, and publish."""
        if self.before and not self.before.is_done():
            with locked(self.before.output) if is_main_process() else nullcontext():
                self.before.make()
            # The others may not look for its weights before the first process has written them.
            barrier()
        config = self._runner_config()
        if self.faster:
            config["train_dataloader"]["dataset"] = self.faster()
        runner = Runner.from_cfg(config)
        self._check_machine(bare(runner.model), runner)
        if compiles(self.stage.params.runtime):
            compile_parts(bare(runner.model))
        runner.train()
        # Its workers would stay until Python happens to collect them, and then take ten seconds.
        runner.train_dataloader._iterator = None
        return self._publish(runner) if is_main_process() else ""

    def _check_machine(self, model: nn.Module, runner: Runner) -> None:
        loader = runner.train_dataloader
        sampler = self.config["train_dataloader"]["sampler"]
        batch = sampler["identities"] * sampler["clips"]
        machine.check_readers(loader.num_workers, batch, loader.dataset[0]["inputs"])
        # Weights and the optimizer's two means, in this checkpoint and in the one before.
        space = 2 * 3 * sum(one.nbytes for one in model.parameters() if one.requires_grad)
        machine.check_space(self.work, space, f"the checkpoints of {self.output}")

    def _publish(self, runner: Runner) -> str:
        model = result(runner)
        runner.visualizer.close()
        about = self.about | {"epoch": self._take_best(model, runner)}
        check_weights(model, self.stage.name)
        about |= self.learn(model, runner) if self.learn else {}
        about["comparison"] = model.comparison()
        self._publish_report(model, runner)
        save(self.output, model, {"about": about})
        note_done(self.fingerprint, self.output, self.report, self.curve)
        paths.discard(self.work)
        return f"{runner.max_epochs} epochs, {count(model) / 1e6:.2f} million parameters"

    def _take_best(self, model: nn.Module, runner: Runner) -> int:
        """Go back to the best epoch where identities were held out; return which it was."""
        best = runner.message_hub.runtime_info.get("best")
        if best is None:
            return runner.max_epochs
        fix = f"Delete {self.work} and run the same command again"
        file = best_file(self.work, best["epoch"])
        state = read_pickle(file, fix)
        with reading(file, "file of weights for this model", fix):
            # What is frozen is there already.
            model.load_state_dict(model.state_dict() | state)
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
            "collate_fn": {"type": "train.data.collate.collate"},
        }
        console.say(f"{_name(config)}, {config['train_cfg']['max_epochs']} epochs")
        checkpoint = latest_checkpoint(self.work)
        if checkpoint:
            console.say(f"continuing after {checkpoint.stem.replace('_', ' ')}")
        return config | {
            "work_dir": str(self.work),
            # MMEngine keeps its objects by name in the process: two runs must not share one.
            "experiment_name": uuid4().hex,
            "default_scope": "train",
            "log_level": "WARNING",
            "load_from": str(checkpoint) if checkpoint else None,
            "resume": checkpoint is not None,
            **self._hooks(config),
            "visualizer": {
                "type": "Visualizer",
                "vis_backends": self._curves(),
            },
            **runner_settings(),
        }

    def _hooks(self, config: Config) -> Config:
        minutes = self.stage.params.runtime.checkpoint_minutes
        return {
            # Those that are switched off keep histories that nothing here reads.
            "default_hooks": {
                "runtime_info": None,
                "timer": None,
                "logger": None,
                "checkpoint": {"type": "train.run.checkpoints.ResumeHook", "minutes": minutes},
            },
            "custom_hooks": [
                *config.get("custom_hooks", []),
                {"type": "train.run.hooks.SeedHook"},
                {"type": "train.run.finite.FiniteHook", "section": self.stage.name},
                {"type": "train.run.hooks.EpochLogHook"},
            ],
        }

    def _curves(self) -> list[Config]:
        """Return who writes the curves, for `dvc plots` and, if asked for, for TensorBoard."""
        backends = [
            {"type": "train.run.curves.StageLiveBackend", "save_dir": str(self.work / "curves")}
        ]
        if self.stage.params.runtime.tensorboard:
            if find_spec("tensorboard") is None:
                raise PipelineError(
                    "runtime.tensorboard is true, but TensorBoard is not installed. "
                    "Run: pip install tensorboard"
                )
            folder = paths.work_dir("tensorboard", self.stage.key, self.stage.name)
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
        paths.sweep(self.curve)
        with paths.write_atomic(self.curve) as temporary:
            temporary.write_text(_table(runner.message_hub.runtime_info["history"]))


# Each is one graph; the losses are many small ones.
COMPILED = ("visual", "skeleton", "updater", "temporal")


def compiles(runtime: RuntimeParams) -> bool:
    """Return whether parts of a model are to be compiled here."""
    if runtime.compile == "auto":
        return torch.cuda.is_available() and not runtime.deterministic
    return runtime.compile


def compile_parts(model: nn.Module) -> None:
    """Compile the parts of a model in which the time goes, when they first run."""
    for name in COMPILED:
        part = getattr(model, name, None)
        if isinstance(part, nn.Module):
            part.compile()


def _name(config: Config) -> str:
    return config["model"]["type"].rpartition(".")[2]


def _table(history: list[dict[str, float]]) -> str:
    """Return a line per epoch; a term that an epoch lacks stays empty."""
    names = list(dict.fromkeys(name for numbers in history for name in numbers))
    lines = ["\t".join(["epoch", *names])]
    for epoch, numbers in enumerate(history, start=1):
        lines.append("\t".join([str(epoch), *(str(numbers.get(name, "")) for name in names)]))
    return "\n".join(lines) + "\n"


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
