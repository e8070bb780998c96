"""Compare the 3D stage with MMPose's own lifting, one call per frame as its inferencer makes.

Run it:   python -m bench.pose3d

Both run VideoPose3D over 27 frames with random weights on the same cores, models loaded and warm.
"""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.extraction import project, random_weights, warm, write_spec
from bench.measure import Json, case, finish, seconds
from pipeline.cli import run
from pipeline.stage import Stage

CONFIG = (
    "configs/body_3d_keypoint/video_pose_lift/h36m/"
    "video-pose-lift_tcn-27frm-supv_8xb128-160e_h36m.py"
)
PLACE = "{root_px: [532, 420], height_px: 290, image_size: [1000, 1000]}"
FRAMES, OPPONENT_FRAMES, RUNS, WINDOW = 16_384, 200, 3, 27


def write_joints(stage: Stage) -> None:
    """Write a pose2d table of random joints for all frames of the index."""
    import pyarrow.parquet as pq

    from extract import tables
    from extract.pose2d import work as pose2d_work
    from pipeline import paths
    from pipeline.schema import with_metadata

    keys = tables.explode(pq.read_table(paths.index_file(stage.dataset)))
    found = pose2d_work.Found(len(keys))
    rng = np.random.default_rng(0)
    found.size[:] = 128, 256
    found.xy[:] = rng.uniform(0, 128, found.xy.shape)
    found.score[:] = 0.9
    table = found.table(keys, min_score=0.0)
    folder = paths.pose2d_dir(stage.dataset)
    folder.mkdir(parents=True)
    table = table.cast(with_metadata(table.schema))
    pq.write_table(table, folder / "train-00000.parquet", row_group_size=256)


def stock(config: Path) -> Any:
    """Return a function that lifts frames one by one with MMPose's lifter, in frames/s."""
    from extract.engine import models

    models.import_mmpose()
    import torch
    from mmengine.structures import InstanceData
    from mmpose.apis import inference_pose_lifter_model, init_model
    from mmpose.structures import PoseDataSample

    model = init_model(str(config), None, device="cpu")
    rng = np.random.default_rng(0)
    poses = []
    for _ in range(OPPONENT_FRAMES + WINDOW):
        sample = PoseDataSample()
        joints = InstanceData(
            keypoints=rng.uniform(0, 1000, (1, 17, 2)).astype(np.float32),
            bboxes=np.array([[0, 0, 500, 1000]], np.float32),
        )
        sample.gt_instances, sample.pred_instances = joints, joints
        sample.track_id = 0
        poses.append([sample])

    def lift() -> None:
        for i in range(OPPONENT_FRAMES):
            inference_pose_lifter_model(model, poses[i : i + WINDOW], image_size=(1000, 1000))

    def speed(threads: int) -> float:
        torch.set_num_threads(threads)
        return OPPONENT_FRAMES / seconds(lift)

    speed(1)
    return speed


def main(json_file: Json = None) -> None:
    """Compare the 3D stage with MMPose's own lifting."""
    from extract.engine.spec import load
    from extract.pose3d.plan import plan

    cores = len(os.sched_getaffinity(0))
    ours: list[float] = []
    theirs: list[float] = []
    with project(FRAMES) as stage:
        write_joints(stage)
        write_spec("bench", "lifter", CONFIG, random_weights(CONFIG), input=PLACE)
        runtime = stage.params.runtime.model_copy(update={"workers": cores})
        params = stage.params.model_copy(update={"runtime": runtime})
        lift = stock(load("bench").config("lifter"))
        with warm(replace(stage, name="pose3d", params=params), plan) as once:
            for _ in range(RUNS):
                ours.append(once())
                theirs.append(max(lift(n) for n in {1, cores}))
    cases = {"VideoPose3D-27, MMPose per frame": case(ours, theirs, "frames/s", True)}
    finish("pose3d", cases, json_file)


if __name__ == "__main__":
    run(main)
