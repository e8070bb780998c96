"""A small top-down estimator: a U-Net and heatmaps of a quarter of the input, the whole frame."""

default_scope = "mmpose"
custom_imports = dict(imports=["extract.pose2d.unet"])

# A heatmap cell is four pixels of the frame; DARK decoding finds the place within it.
codec = dict(
    type="MSRAHeatmap",
    input_size=(128, 256),
    heatmap_size=(32, 64),
    sigma=2,
    unbiased=True,
    blur_kernel_size=11,
)

model = dict(
    type="TopdownPoseEstimator",
    data_preprocessor=dict(
        type="PoseDataPreprocessor",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
    ),
    backbone=dict(type="UNet", channels=(32, 64, 128, 192), blocks=(1, 2, 2, 2)),
    head=dict(
        type="HeatmapHead",
        in_channels=32,
        out_channels=17,
        deconv_out_channels=None,
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
