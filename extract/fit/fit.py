"""Fit the two small pose models of the walkers to rendered people, and measure them."""

import json
import shutil
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import console, paths

if TYPE_CHECKING:
    import numpy as np

    from extract.fit.people import Clips
    from pipeline.params.config import Params

MODEL = "walkers_pose"
CONFIGS = Path("conf/weights") / MODEL
ESTIMATOR, LIFTER = "pose2d.safetensors", "pose3d.safetensors"
# Batches of 32 crops at half and at full size, batches of 256 windows, and how many people and
# frames they are drawn from. Many people of few frames far apart teach the estimator; the lifter
# needs time, and for most people their joints alone.
ITERATIONS_2D, ITERATIONS_3D = {2: 3000, 1: 2000}, 2000
CLIPS_2D: dict[str, Any] = {"cameras": 120, "clips": 5400, "frames": (3, 3), "apart": (4, 8)}
CLIPS_3D: dict[str, Any] = {"cameras": 100, "clips": 800, "frames": (8, 16)}
WALKS_3D: dict[str, Any] = {"cameras": 0, "clips": 8000, "frames": (8, 28)}
# Before cameras like those of the dataset, and before any.
CLIPS_HELD_OUT: dict[str, Any] = {"cameras": 20, "clips": 120, "frames": (12, 20), "wide": False}
CLIPS_ANYWHERE: dict[str, Any] = {"cameras": 80, "clips": 160, "frames": (8, 12)}
# Of cameras, in metres.
_HEIGHTS = (0.8, 2.1, 3.4, 4.7, 6.0)
_FRAMES_PER_PASS = 64


def fit(folder: Path, params: "Params") -> dict[str, Any]:
    """Fit the 2D estimator, then the lifter to what it finds; measure both on other people.

    The estimator is kept in the work folder until the end, so that a fit that was stopped goes on
    with the lifter.

    Args:
        folder: Where the weights and `metrics.json` go.
        params: Tells the device and the number of processes.

    Returns:
        The metrics, as `measure` returns them.
    """
    import torch

    from extract.engine import models
    from extract.fit.people import Sampling, input_map, render, walk
    from extract.fit.pose3d import fit_lifter, with_errors_of

    models.keep_memory()
    device, workers = models.pick_device(params.runtime.device), params.runtime.workers
    torch.set_num_threads(max(1, workers))
    work = _work()
    if not (work / ESTIMATOR).exists():
        _fit_estimator(work / ESTIMATOR, device, workers)
    folder.mkdir(parents=True, exist_ok=True)
    with paths.write_atomic(folder / ESTIMATOR) as temporary:
        shutil.copyfile(work / ESTIMATOR, temporary)
    clips = render(Sampling("3D", 2, **CLIPS_3D), *input_map(CONFIGS / "pose2d.py"), workers)
    found = (clips, *find_joints(folder, clips, device))
    others = with_errors_of(found, walk(Sampling("3D", 4, **WALKS_3D)), seed=0)
    config = CONFIGS / "pose3d.py"
    _save(fit_lifter(config, [found, others], ITERATIONS_3D, device), folder / LIFTER)
    metrics = measure(folder, params)
    show(metrics)
    with paths.write_atomic(folder / "metrics.json") as path:
        path.write_text(json.dumps(metrics, indent=2) + "\n")
    paths.discard(work)
    return metrics


def _fit_estimator(path: Path, device: str, workers: int) -> None:
    from extract.fit.people import Sampling, input_map, render
    from extract.fit.pose2d import fit_estimator

    config = CONFIGS / "pose2d.py"
    matrix, size = input_map(config)
    clips = render(Sampling("2D", 1, **CLIPS_2D), matrix, size, workers)
    _save(fit_estimator(config, clips, matrix, ITERATIONS_2D, device), path)


def find_joints(folder: Path, clips: "Clips", device: str) -> tuple["np.ndarray", "np.ndarray"]:
    """Return the joints `(N, 17, 2)` and scores `(N, 17)` that the stored estimator finds."""
    import numpy as np

    from extract.pose2d.estimator import Estimator
    from extract.walkers.frame import CROP_HEIGHT, CROP_WIDTH

    estimator = Estimator(CONFIGS / "pose2d.py", folder / ESTIMATOR, device)
    parts = []
    for start in range(0, len(clips.crops), _FRAMES_PER_PASS):
        # The clips are BGR, the estimator takes RGB.
        crops = list(clips.crops[start : start + _FRAMES_PER_PASS, ..., ::-1])
        parts.append(estimator(crops, np.tile([[CROP_WIDTH, CROP_HEIGHT]], (len(crops), 1))))
    xy_px, score = (np.concatenate(pair) for pair in zip(*parts, strict=True))
    return xy_px, score


def measure(folder: Path, params: "Params") -> dict[str, Any]:
    """Measure stored weights on rendered people and cameras that they were not fitted to.

    Args:
        folder: A folder that `fit` wrote.
        params: Tells the device and the number of processes.

    Returns:
        For the estimator PCK at a tenth and a twentieth of the pose's height, over joints that are
        seen and over all that nothing but the own body hides, and the quartiles of its error in
        percent of the height; for the lifter MPJPE, the same with the true scale, and PA-MPJPE in
        millimetres, from true and from found 2D joints; and how well it finds the lean of tracklets
        before cameras at any height.
    """
    import numpy as np

    from extract.engine import models
    from extract.engine.spec import load
    from extract.fit.people import Sampling, camera_heights, input_map, render
    from extract.pose3d.lifter import Lifter
    from extract.pose3d.normalise import normalise

    device = models.pick_device(params.runtime.device)
    frame = input_map(CONFIGS / "pose2d.py")
    place = load(MODEL).lifter.input
    lifter = Lifter(CONFIGS / "pose3d.py", folder / LIFTER, place, device)

    def lifted(clips: "Clips", xy: np.ndarray, scores: np.ndarray) -> list[np.ndarray]:
        return lifter(
            [
                normalise(xy[clip], scores[clip], place.root_px, place.height_px)
                for clip in clips.clips()
            ]
        )

    sampling = Sampling("held-out people", 3, **CLIPS_HELD_OUT)
    clips = render(sampling, *frame, params.runtime.workers)
    xy_px, score = find_joints(folder, clips, device)
    by_truth = lifted(clips, clips.xy_px, np.ones_like(score))
    metrics = {
        "people": sampling.clips,
        "frames": len(clips.crops),
        "pose2d": _errors_2d(xy_px, clips),
        "pose3d": {
            "true_2d": _errors_3d(np.concatenate(by_truth), clips),
            "found_2d": _errors_3d(np.concatenate(lifted(clips, xy_px, score)), clips),
        },
    }
    anywhere = Sampling("cameras anywhere", 5, **CLIPS_ANYWHERE)
    clips = render(anywhere, *frame, params.runtime.workers)
    found = lifted(clips, *find_joints(folder, clips, device))
    return metrics | {"lean": _lean(found, clips, camera_heights(anywhere))}


def _lean(xyz: "list[np.ndarray]", clips: "Clips", heights: "np.ndarray") -> dict[str, Any]:
    """Return the slope of found over true lean, and the median error in degrees by height."""
    import numpy as np

    from extract.pose3d.normalise import towards_root
    from extract.pose_metrics import lean

    truth = towards_root(clips.xyz, clips.root)
    found = np.array([lean(one) for one in xyz])
    true = np.array([lean(truth[clip]) for clip in clips.clips()])
    error, which = np.abs(found - true), np.digitize(heights, _HEIGHTS[1:-1])
    return {
        "slope": round(float(np.polyfit(true, found, 1)[0]), 3),
        "median_error_deg": {
            f"{low} to {high} m": round(float(np.median(error[which == i])), 2)
            for i, (low, high) in enumerate(pairwise(_HEIGHTS))
            if (which == i).any()
        },
    }


def _errors_2d(xy_px: "np.ndarray", clips: "Clips") -> dict[str, Any]:
    import numpy as np

    from extract.pose_metrics import pck
    from extract.walkers.clip import BEHIND_BODY, SEEN
    from pipeline.skeleton import COCO17

    height = np.ptp(clips.xy_px[..., 1], axis=1)
    errors: dict[str, Any] = {}
    for which, least in (("seen", SEEN), ("seen_or_behind_body", BEHIND_BODY)):
        for within in (0.1, 0.05):
            counts = clips.visibility >= least
            joints = pck(xy_px, clips.xy_px, counts, height, within)
            by_name = dict(zip(COCO17.joints, joints.round(4).tolist(), strict=True))
            errors.setdefault(which, {})[f"pck@{within}"] = {
                "mean": round(float(joints.mean()), 4),
                "joints": by_name,
            }
    off = 100 * np.linalg.norm(xy_px - clips.xy_px, axis=-1) / height[:, None]
    errors["error_percent"] = np.percentile(off, [25, 50, 75]).round(2).tolist()
    return errors


def _errors_3d(xyz: "np.ndarray", clips: "Clips") -> dict[str, float]:
    from extract.pose3d.normalise import towards_root
    from extract.pose_metrics import mpjpe, procrustes, true_scale

    truth = towards_root(clips.xyz, clips.root)
    errors = {
        "mpjpe_mm": mpjpe(xyz, truth),
        "mpjpe_true_scale_mm": mpjpe(true_scale(xyz, truth), truth),
        "pa_mpjpe_mm": mpjpe(procrustes(xyz, truth), truth),
    }
    return {name: round(1000 * float(error.mean()), 1) for name, error in errors.items()}


def show(metrics: dict[str, Any]) -> None:
    """Print the metrics as two tables."""
    pose2d = metrics["pose2d"]
    seen, body = pose2d["seen"], pose2d["seen_or_behind_body"]
    columns = (seen["pck@0.1"], seen["pck@0.05"], body["pck@0.1"], body["pck@0.05"])
    rows = [
        [joint, *(f"{column['joints'][joint]:.3f}" for column in columns)]
        for joint in seen["pck@0.1"]["joints"]
    ]
    rows.append(["mean", *(f"{column['mean']:.3f}" for column in columns)])
    people = f"{metrics['people']} held-out people, {metrics['frames']} frames"
    console.table(
        f"2D joints of {people}",
        ["joint", "PCK@0.1 seen", "PCK@0.05 seen", "PCK@0.1 all", "PCK@0.05 all"],
        rows,
    )
    quartiles = ", ".join(map(str, pose2d["error_percent"]))
    console.say(f"quartiles of the error, in percent of the height: {quartiles}")
    console.table(
        "3D joints, mm",
        ["from", "MPJPE", "MPJPE true scale", "PA-MPJPE"],
        [[name.replace("_", " "), *error.values()] for name, error in metrics["pose3d"].items()],
    )
    lean = metrics["lean"]
    console.table(
        f"Lean: slope {lean['slope']} of found over true; error by the camera's height",
        list(lean["median_error_deg"]),
        [[f"{error} degrees" for error in lean["median_error_deg"].values()]],
    )


def is_unfinished(folder: Path) -> bool:
    """Return whether a fit was stopped before all it makes was in a folder."""
    return _work().exists() and not (folder / "metrics.json").exists()


def _work() -> Path:
    return paths.work_dir("weights", MODEL, _fingerprint())


def _fingerprint() -> str:
    """Return hex digits that change with whatever decides the estimator's weights."""
    from pipeline.code.fingerprint import fingerprint
    from pipeline.code.hashes import code_of

    # The lifter is none of it: another one goes on with the estimator that is fitted.
    code = code_of("extract.fit.pose2d", "extract.fit.people")
    return fingerprint(CONFIGS / "pose2d.py", code=code, knobs=(ITERATIONS_2D, CLIPS_2D))


def _save(state: dict, path: Path) -> None:
    """Write weights in half precision: they lie in git, and their last digits decide nothing."""
    from safetensors.torch import save_file

    small = {key: one.half() if one.is_floating_point() else one for key, one in state.items()}
    with paths.write_atomic(path) as temporary:
        save_file(small, temporary)
