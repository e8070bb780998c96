"""What a user would run in place of the 2D stage, and the most that stage could reach.

Each takes the same network and the same files, and gives frames per second.
"""

import os
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from importlib.util import find_spec
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from bench.measure import seconds

FRAMES, BATCHES, BATCH_FRAMES = 96, 6, 64
# Ways to run the bare network on batches.
FORWARDS = ("eager", "inductor", "onnxruntime")


def _files() -> list[str]:
    return [str(file) for file in islice(sorted(Path("data/raw").rglob("*.jpg")), FRAMES)]


def stock(config: Path, weights: Path) -> Callable[[bool, int], float]:
    """Load MMPose's inferencer; returns a function to frames per second.

    It takes whether to use the flip test, and torch's threads.
    """
    from extract.engine import models

    models.import_mmpose()
    import torch
    from mmpose.apis import MMPoseInferencer

    inferencer: Any = MMPoseInferencer(pose2d=str(config), det_model="whole_image", device="cpu")
    inferencer.inferencer.model.load_state_dict(models.read_state(weights))
    files = _files()

    def infer(flip_test: bool, threads: int) -> float:
        torch.set_num_threads(threads)
        inferencer.inferencer.model.test_cfg["flip_test"] = flip_test
        return len(files) / seconds(lambda: list(inferencer(files)))

    infer(False, 1)
    return infer


@contextmanager
def rtmlib(config: Path, weights: Path) -> Generator[Callable[[], float]]:
    """Load rtmlib with the network in ONNX Runtime; yields a function to frames per second.

    The better of two ways to use it: one process as its manual says, with all cores for each crop,
    and one process for each core.
    """
    model = export(config, weights, Path("rtmpose.onnx").absolute())
    cores = sorted(os.sched_getaffinity(0))
    with _pinned(cores) as each, _pinned([cores]) as together:

        def infer() -> float:
            alone = sum(each.submit_all(_rtmlib_speed, model))
            return max(alone, sum(together.submit_all(_rtmlib_speed, model)))

        infer()
        yield infer


@contextmanager
def bare_forward(config: Path, weights: Path) -> Generator[Callable[[], dict[str, float]]]:
    """Load the network alone in a process per core; yields a function to frames per second.

    By the way to run it: as the stage does, compiled, and in ONNX Runtime where that is installed.
    """
    names = [name for name in FORWARDS if name != "onnxruntime" or find_spec(name)]
    model = Path()
    if "onnxruntime" in names:
        model = export(config, weights, Path("forward.onnx").absolute())
    with _pinned(sorted(os.sched_getaffinity(0))) as each:

        def forward() -> dict[str, float]:
            return {
                name: sum(each.submit_all(_forward_speed, name, config, weights, model))
                for name in names
            }

        forward()
        yield forward


class _Pinned:
    """A process on each of some sets of cores, which keeps what it has loaded."""

    def __init__(self, stack: ExitStack, cores: list[Any]) -> None:
        self._pools = [
            stack.enter_context(
                ProcessPoolExecutor(1, get_context("spawn"), initializer=_pin, initargs=(core,))
            )
            for core in cores
        ]

    def submit_all(self, work: Callable[..., float], *arguments: object) -> Iterator[float]:
        """Run the same in all processes at once."""
        futures = [pool.submit(work, *arguments) for pool in self._pools]
        return (future.result() for future in futures)


@contextmanager
def _pinned(cores: list[Any]) -> Generator[_Pinned]:
    with ExitStack() as stack:
        yield _Pinned(stack, cores)


def _pin(cores: int | list[int]) -> None:
    # ONNX Runtime and torch then start as many threads as there are cores.
    os.sched_setaffinity(0, {cores} if isinstance(cores, int) else set(cores))


def export(config: Path, weights: Path, file: Path) -> Path:
    """Write the network, with its batch norms folded in, as ONNX with batches of any size."""
    import warnings

    import torch

    from extract.pose2d.estimator import Estimator, _forward

    estimator = Estimator(config, weights)
    width, height = estimator.input_size

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = estimator._model

        def forward(self, images: torch.Tensor) -> Any:
            return _forward(self.model, images)

    names = ["input", "simcc_x", "simcc_y"]
    with warnings.catch_warnings():
        # The newer exporter needs another package and makes no faster graph of this network.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Network().eval(),
            (torch.randn(2, 3, height, width),),
            file,
            input_names=names[:1],
            output_names=names[1:],
            dynamic_axes={name: {0: "frames"} for name in names},
            dynamo=False,
        )
    return file


@lru_cache
def _rtmlib(model: Path) -> Any:
    import contextlib

    from rtmlib import RTMPose

    with contextlib.redirect_stdout(None):
        return RTMPose(str(model), model_input_size=(192, 256), backend="onnxruntime")


def _rtmlib_speed(model: Path) -> float:
    import cv2

    cv2.setNumThreads(0)
    estimator, files = _rtmlib(model), _files()
    return len(files) / seconds(lambda: [estimator(cv2.imread(file)) for file in files])


def _forward_speed(name: str, config: Path, weights: Path, model: Path) -> float:
    network = _network(name, config, weights, model)
    return BATCHES * BATCH_FRAMES / seconds(lambda: [network() for _ in range(BATCHES)])


@lru_cache
def _network(name: str, config: Path, weights: Path, model: Path) -> Callable[[], object]:
    """Return a function that runs the network on a batch, on one core, as a worker would run it."""
    import torch

    from extract.engine import models
    from extract.pose2d.estimator import Estimator

    models.keep_memory()
    models.set_threads(1)
    estimator = Estimator(config, weights, compiled=name == "inductor")
    width, height = estimator.input_size
    images = torch.randn(BATCH_FRAMES, 3, height, width)
    if name == "onnxruntime":
        import onnxruntime

        session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        return lambda: session.run(None, {"input": images.numpy()})
    images = images.to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def forward() -> object:
        return estimator._forward(estimator._model, images)

    return forward
