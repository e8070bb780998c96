"""MMEngine registries of scope `pipeline`: every part that a configuration names by `type`.

A child exists for each root registry the Runner touches, and each looks its classes up in the
listed modules when first asked; nothing is imported for its side effect elsewhere.
"""

from mmengine import registry as root
from mmengine.registry import Registry


def _child(name: str, parent: Registry, *modules: str) -> Registry:
    return Registry(name, parent=parent, scope="pipeline", locations=list(modules))


MODELS = _child(
    "model",
    root.MODELS,
    "train.parts.image",
    "train.parts.skeleton",
    "train.parts.prototypes",
    "train.parts.temporal",
    "train.parts.losses",
    "train.data.preprocess",
    "train.models.base",
    "train.models.csip",
)
MODEL_WRAPPERS = _child("model wrapper", root.MODEL_WRAPPERS)
DATASETS = _child("dataset", root.DATASETS, "train.data.clips", "train.data.features")
DATA_SAMPLERS = _child("data sampler", root.DATA_SAMPLERS, "train.data.sampler")
FUNCTIONS = _child("function", root.FUNCTIONS, "train.data.clips")
TRANSFORMS = _child("transform", root.TRANSFORMS, "train.data.transforms")
HOOKS = _child("hook", root.HOOKS, "train.run.hooks")
LOOPS = _child("loop", root.LOOPS)
OPTIMIZERS = _child("optimizer", root.OPTIMIZERS)
OPTIM_WRAPPERS = _child("optimizer wrapper", root.OPTIM_WRAPPERS, "train.run.optim")
OPTIM_WRAPPER_CONSTRUCTORS = _child(
    "optimizer wrapper constructor", root.OPTIM_WRAPPER_CONSTRUCTORS, "train.run.optim"
)
PARAM_SCHEDULERS = _child("parameter scheduler", root.PARAM_SCHEDULERS, "train.run.optim")
EVALUATOR = _child("evaluator", root.EVALUATOR)
METRICS = _child("metric", root.METRICS, "train.run.validation")
LOG_PROCESSORS = _child("log processor", root.LOG_PROCESSORS)
VISUALIZERS = _child("visualizer", root.VISUALIZERS)
VISBACKENDS = _child("visualization backend", root.VISBACKENDS, "train.run.curves")
RUNNERS = _child("runner", root.RUNNERS)
RUNNER_CONSTRUCTORS = _child("runner constructor", root.RUNNER_CONSTRUCTORS)
STRATEGIES = _child("strategy", root.STRATEGIES)
INFERENCERS = _child("inferencer", root.INFERENCERS)
