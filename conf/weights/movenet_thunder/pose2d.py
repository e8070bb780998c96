"""MoveNet Thunder: the larger of Google's two single-person models."""

default_scope = "mmpose"
custom_imports = dict(imports=["extract.movenet.network"])

codec = dict(type="OffsetHeatmap", input_size=(256, 256), heatmap_size=(64, 64))

model = dict(
    type="TopdownPoseEstimator",
    # Pixels to [-1, 1], RGB.
    data_preprocessor=dict(
        type="PoseDataPreprocessor", mean=[127.5] * 3, std=[127.5] * 3, bgr_to_rgb=True
    ),
    backbone=dict(type="MoveNetBackbone", width=1.75),
    head=dict(type="MoveNetHead", decoder=codec),
    test_cfg=dict(flip_test=False),
)

val_pipeline = [
    dict(type="LoadImage"),
    dict(type="GetBBoxCenterScale", padding=1.25),
    dict(type="TopdownAffine", input_size=codec["input_size"]),
    dict(type="PackPoseInputs"),
]
