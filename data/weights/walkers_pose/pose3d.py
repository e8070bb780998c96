"""A small temporal lifter: VideoPose3D over 27 frames with 256 channels and joint scores."""

default_scope = "mmpose"

codec = dict(
    type="VideoPoseLifting",
    num_keypoints=17,
    zero_center=True,
    root_index=0,
    remove_root=False,
    concat_vis=True,
)

model = dict(
    type="PoseLifter",
    # One output frame per window; with use_stride_conv=False the same weights run over a whole
    # tracklet at once.
    backbone=dict(
        type="TCN",
        in_channels=3 * 17,
        stem_channels=256,
        num_blocks=2,
        kernel_sizes=(3, 3, 3),
        dropout=0.1,
        use_stride_conv=True,
    ),
    head=dict(
        type="TemporalRegressionHead",
        in_channels=256,
        num_joints=17,
        loss=dict(type="MPJPELoss"),
        decoder=codec,
    ),
)

val_pipeline = [
    dict(type="GenerateTarget", encoder=codec),
    dict(type="PackPoseInputs", meta_keys=("id", "target_root")),
]
