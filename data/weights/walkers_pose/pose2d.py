"""A small top-down estimator: a third of a ResNet-18 and heatmaps of a quarter of the input."""

default_scope = "mmpose"

# DARK decoding: a heatmap cell is eight pixels of the frame, a quarter pixel shift is too coarse.
codec = dict(
    type="MSRAHeatmap",
    input_size=(64, 128),
    heatmap_size=(16, 32),
    sigma=1.5,
    unbiased=True,
    blur_kernel_size=7,
)

model = dict(
    type="TopdownPoseEstimator",
    data_preprocessor=dict(
        type="PoseDataPreprocessor",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
    ),
    # Stride 16 is enough for crops this small, and leaves out the costly last stage.
    backbone=dict(
        type="ResNet",
        depth=18,
        stem_channels=32,
        base_channels=32,
        num_stages=3,
        strides=(1, 2, 2),
        dilations=(1, 1, 1),
        out_indices=(2,),
    ),
    head=dict(
        type="HeatmapHead",
        in_channels=128,
        out_channels=17,
        deconv_out_channels=(96, 64),
        deconv_kernel_sizes=(4, 4),
        loss=dict(type="KeypointMSELoss", use_target_weight=True, loss_weight=100.0),
        decoder=codec,
    ),
    # The accuracy of mmpose 1.3.2's head goes through numpy, which knows no bfloat16.
    train_cfg=dict(compute_acc=False),
    test_cfg=dict(flip_test=False, flip_mode="heatmap", shift_heatmap=False),
)

# A crop of these data sets is the person's box already: no padding around it.
val_pipeline = [
    dict(type="LoadImage"),
    dict(type="GetBBoxCenterScale", padding=1.0),
    dict(type="TopdownAffine", input_size=codec["input_size"]),
    dict(type="PackPoseInputs"),
]
