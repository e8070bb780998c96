"""What each knob of params.yaml means, and its range. Values stand in params.yaml only."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Section(BaseModel):
    """Knobs that stand under one key of params.yaml; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class KinectParams(Section):
    """A dataset of skeletons as text, without pictures."""

    format: str = Field(description="parser that reads it: a module of extract/datasets/")
    source: str = Field(description="file or folder that tells DVC when the dataset changed")
    counts: Literal["published", "none", "partial"] = Field(
        description="what the numbers of tracklets are compared with; none: with nothing; "
        "partial: a copy that lacks some goes on with a warning"
    )


class DatasetParams(KinectParams):
    """A dataset of pictures."""

    pose2d: str = Field(description="weights of the 2D estimator: a file of conf/weights/")
    pose3d: str = Field(description="weights of the 3D lifter: a file of conf/weights/")
    case: str | None = Field(None, description="test case of VReID-XFD: a folder of the dataset")


class PretrainingParams(Section):
    """A first stage of training."""

    train: str = Field(description="dataset to train on")
    encoder: str = Field(description="visual encoder: a file of conf/encoder/")
    start: str = Field(description="weights to start from; a file of conf/ for none")
    recipe: str = Field(description="file whose knobs it takes: sections stage1 to overrides")


class RunParams(Section):
    """A system trained on one dataset and tested on one."""

    train: str = Field(description="dataset to train on")
    test: str = Field(description="dataset to test on")
    model: str = Field(description="the system: a file of conf/model/")
    encoder: str | None = Field(
        None, description="visual encoder: a file of conf/encoder/; by default that of `start`"
    )
    start: str = Field(description="weights to start from; a file of conf/ for none")
    recipe: str = Field(description="file whose knobs it takes: sections stage1 to overrides")


class WalkersParams(Section):
    """The rendered dataset."""

    seed: int = Field(ge=0, description="same seed, same bytes")
    identities_train: int = Field(ge=2, le=3000, description="persons to train on")
    identities_test: int = Field(ge=2, le=3000, description="persons to test on")
    cameras: int = Field(ge=2, le=6, description="cameras; MARS names have room for six")
    tracklets: int = Field(ge=1, le=100, description="per person and camera")
    frames: tuple[int, int] = Field(description="shortest and longest tracklet, at 15 per second")
    wardrobe: int = Field(ge=0, description="outfits shared by all; 0: one each")
    bodies: int = Field(ge=0, description="bodies shared by all; 0: one each")
    change_clothes: bool = Field(description="whether about half the cameras see other clothes")
    distractors: int = Field(ge=0, description="tracklets of people who match nobody (pid 0)")
    junk: int = Field(ge=0, description="tracklets whose boxes miss the person (pid -1)")
    bad_frames: float = Field(ge=0, le=1, description="share of frames blurred or covered")
    kits: int = Field(ge=0, description="teams: top and bottom shared, the rest their own; 0: none")
    spectrum: int = Field(ge=0, le=6, description="so many of the last cameras are infrared")
    aerial: int = Field(ge=0, le=6, description="so many of the last cameras fly")
    altitude_m: tuple[float, float] = Field(description="how low and how high they fly")
    silhouettes: bool = Field(description="whether each frame's silhouette is written")
    captions: bool = Field(description="whether a sentence is written about each tracklet")
    caption_errors: float = Field(ge=0, le=1, description="share of wrong words in them")

    @model_validator(mode="after")
    def _some_cameras_stay(self) -> "WalkersParams":
        for knob in ("spectrum", "aerial"):
            if getattr(self, knob) >= self.cameras:
                raise ValueError(
                    f"walkers.{knob} is {getattr(self, knob)} of {self.cameras} cameras: leave at "
                    "least one as it is, or raise walkers.cameras"
                )
        low, high = self.altitude_m
        if not 5 <= low <= high <= 120:
            raise ValueError(
                f"walkers.altitude_m is {[low, high]}: give the lowest and the highest, from 5 to "
                "120, as [10, 60]"
            )
        return self

    @model_validator(mode="after")
    def _frames_ascend(self) -> "WalkersParams":
        if not 1 <= self.frames[0] <= self.frames[1] <= 900:
            raise ValueError(
                f"walkers.frames is {list(self.frames)}: give the shortest and the longest "
                "tracklet, as [12, 20]; names have room for 900 frames"
            )
        return self


class IndexParams(Section):
    """Reading a dataset's own files."""

    split_id: int = Field(ge=0, le=9, description="which of the ten splits to train on")


class Pose2dParams(Section):
    """2D joints."""

    flip_test: bool = Field(description="average with the mirrored image")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        description="of the forward pass; auto: bfloat16 where fast and alike"
    )
    min_score: float | None = Field(
        ge=0, le=1, description="mean joint score below which status is 3; null: the estimator's"
    )
    max_bad_frames: float = Field(ge=0, le=1, description="share of bad frames tolerated")


class Pose3dParams(Section):
    """3D joints."""

    flip_test: bool = Field(description="average with the mirrored pose")
    max_gap: int = Field(ge=0, description="longest gap of bad frames to interpolate over")
    smooth: Literal["none", "one_euro", "savgol"] = Field(description="filter along time")
    keep_2d: list[str] = Field(
        description="datasets whose joints keep the x and y that were seen, as scores allow"
    )


class SilhouettesParams(Section):
    """Silhouettes of persons, for datasets without their own."""

    draw: bool = Field(description="whether to draw them from the 2D joints")
    min_score: float = Field(ge=0, le=1, description="joints of a lower score are left out")


class ShardsParams(Section):
    """Shards."""

    embed_frames: bool = Field(description="store the JPEGs themselves, not their paths")
    skeletons: Literal["lifted", "truth"] = Field(
        description="truth: the known joints of rendered people, an upper bound"
    )
    shard_mb: int = Field(ge=1, description="size to aim at")


Precision = Literal["float32", "bfloat16", "float16"]


class SkeletonParams(Section):
    """The skeleton encoder."""

    inputs: list[str] = Field(min_length=1, description="xyz, bone_length, velocity")
    input_norm: bool = Field(description="standardise each joint's inputs over the training set")
    face_front: bool = Field(description="turn each clip to face the same way, whatever the camera")
    dim: int = Field(ge=1, description="channels of a token")
    layers: int = Field(ge=1, description="attention blocks over the joints of a frame")
    heads: int = Field(ge=1, description="attention heads")
    temporal_layers: int = Field(ge=0, description="attention blocks over the frames of a clip")
    cls_token: bool = Field(description="a token of its own for each frame")
    dropout: float = Field(ge=0, lt=1)


class Stage1Params(Section):
    """Contrastive skeleton-image pretraining."""

    train_visual: bool = Field(description="false: pretrained and frozen, features are cached")
    skeleton: SkeletonParams = Field(description="the skeleton encoder, of both stages")
    clip_frames: int = Field(ge=1, description="frames of a clip, T")
    identities: int = Field(ge=2, description="identities in a batch, P")
    clips: int = Field(ge=1, description="clips per identity in a batch, K")
    flip: float = Field(ge=0, le=1, description="probability that a clip is mirrored")
    jitter: float = Field(
        ge=0, le=2, description="clips' brightness, contrast, gamma times 2^-jitter to 2^jitter"
    )
    skeleton_epochs: int = Field(ge=0, description="of the skeleton encoder alone, before")
    epochs: int = Field(ge=1, description="length of the run")
    temperature: float = Field(gt=0, description="of the contrast at the start; it is learnt")
    lr: float = Field(gt=0, description="learning rate")
    warmup_lr: float = Field(gt=0, description="learning rate the warm-up starts from")
    warmup_epochs: int = Field(ge=0, description="length of the warm-up")
    min_lr: float = Field(ge=0, description="learning rate at the end of the cosine")
    weight_decay: float = Field(ge=0, description="of Adam")
    precision: Precision = Field(description="of the forward pass; float16: on a GPU only")
    seed: int = Field(ge=0, description="same seed, same weights")


class Stage2Params(Section):
    """Prototype-guided fine-tuning."""

    settings: dict[str, Any] = Field(
        description="of the system, in place of what its file of conf/model/ says"
    )
    shuffle_frames: bool = Field(description="destroy the motion, for comparison")
    clip_frames: int = Field(ge=1, description="frames of a clip, T")
    identities: int = Field(ge=2, description="identities in a batch, P")
    clips: int = Field(ge=2, description="clips per identity in a batch, K")
    flip: float = Field(ge=0, le=1, description="probability that a clip is mirrored")
    jitter: float = Field(
        ge=0, le=2, description="clips' brightness, contrast, gamma times 2^-jitter to 2^jitter"
    )
    erase: float = Field(ge=0, le=1, description="probability that a part of a clip is erased")
    epochs: int = Field(ge=1, description="length of the run")
    lr: float = Field(gt=0, description="learning rate")
    bias_lr_mult: float = Field(gt=0, description="times lr, for biases of the encoders")
    new_lr_mult: float = Field(gt=0, description="times lr, for parts that stage 1 did not train")
    warmup_epochs: int = Field(ge=0, description="length of the warm-up, from a tenth of lr")
    milestones: list[int] = Field(description="epochs from which lr is a tenth of before")
    weight_decay: float = Field(ge=0, description="of Adam")
    refresh_epochs: int = Field(ge=1, description="epochs between two refreshes of prototypes")
    held_out: int = Field(ge=0, description="training identities that neither stage trains on")
    accumulate: int = Field(ge=1, description="batches per update")
    ema: float = Field(ge=0, lt=1, description="publish weights averaged with this decay; 0: last")
    precision: Precision = Field(description="of the forward pass; float16: on a GPU only")
    seed: int = Field(ge=0, description="same seed, same weights")


class EmbedParams(Section):
    """Features of the test tracklets."""

    frames: Literal["rrs", "dense"] = Field(description="frames of a tracklet that count")
    descriptor: Literal["visual", "skeleton", "both"] | None = Field(
        description="both: frames and skeletons, of a run that has both; null: as trained"
    )
    neck: Literal["before", "after"] = Field(
        description="features before the batch norms of training's heads, or after"
    )
    skeleton_weight: float | None = Field(
        ge=0, description="with both: of skeletons beside frames, 1; null: as held-out people say"
    )


class RerankParams(Section):
    """k-reciprocal re-ranking."""

    enabled: bool = Field(description="report re-ranked scores beside the plain ones")
    k1: int = Field(ge=1, description="neighbours checked for reciprocity")
    k2: int = Field(ge=1, description="neighbours whose encodings are averaged")
    lambda_: float = Field(alias="lambda", ge=0, le=1, description="weight of the plain distance")


class BootstrapParams(Section):
    """Intervals of scores: persons are drawn with all of their queries."""

    samples: int = Field(ge=1, description="draws of as many persons")
    seed: int = Field(ge=0)


class ScoreParams(Section):
    """Retrieval scores."""

    max_rank: int = Field(ge=20, description="length of the CMC curve")
    gallery_includes_queries: bool | None = Field(
        description="whether queries are ranked too; null: the dataset's official rule"
    )
    ranked_list: int = Field(ge=1, description="gallery tracklets kept per query for the report")
    rerank: RerankParams = Field(description="reported beside the plain scores")
    bootstrap: BootstrapParams = Field(description="95 % intervals over persons")


class RuntimeParams(Section):
    """Where and how fast it runs; no result depends on it."""

    device: str = Field(description="auto, cpu, cuda or cuda:N")
    workers: int = Field(ge=0, description="processes of a stage; 0: none beside its own")
    scheduler: str | None = Field(description="address of a Dask scheduler")
    memory_limit: str | None = Field(description="of each local Dask worker")
    batch_frames: int = Field(ge=1, description="frames per forward pass of the pose models")
    compile: Literal["auto"] | bool = Field(
        description="run torch.compile on the models; auto: those that train on a GPU"
    )
    deterministic: bool = Field(description="the same bytes again on one type of GPU; slower")
    tensorboard: bool = Field(description="also write the curves for TensorBoard")
    checkpoint_minutes: float = Field(ge=0, description="minutes between two checkpoints")
