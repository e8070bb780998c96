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
    "train.image",
    "train.skeleton",
    "train.fusion",
    "train.temporal",
    "train.losses",
    "train.preprocess",
    "train.model",
    "train.csip",
)
MODEL_WRAPPERS = _child("model wrapper", root.MODEL_WRAPPERS)
DATASETS = _child("dataset", root.DATASETS, "train.data", "train.cache")
DATA_SAMPLERS = _child("data sampler", root.DATA_SAMPLERS, "train.sampler")
FUNCTIONS = _child("function", root.FUNCTIONS, "train.data")
TRANSFORMS = _child("transform", root.TRANSFORMS, "train.transforms")
HOOKS = _child("hook", root.HOOKS, "train.hooks")
LOOPS = _child("loop", root.LOOPS)
OPTIMIZERS = _child("optimizer", root.OPTIMIZERS)
OPTIM_WRAPPERS = _child("optimizer wrapper", root.OPTIM_WRAPPERS, "train.optim")
OPTIM_WRAPPER_CONSTRUCTORS = _child(
    "optimizer wrapper constructor", root.OPTIM_WRAPPER_CONSTRUCTORS, "train.optim"
)
PARAM_SCHEDULERS = _child("parameter scheduler", root.PARAM_SCHEDULERS, "train.optim")
EVALUATOR = _child("evaluator", root.EVALUATOR)
METRICS = _child("metric", root.METRICS, "evaluate.validation")
LOG_PROCESSORS = _child("log processor", root.LOG_PROCESSORS)
VISUALIZERS = _child("visualizer", root.VISUALIZERS)
VISBACKENDS = _child("visualization backend", root.VISBACKENDS, "train.tracking")
RUNNERS = _child("runner", root.RUNNERS)
RUNNER_CONSTRUCTORS = _child("runner constructor", root.RUNNER_CONSTRUCTORS)
STRATEGIES = _child("strategy", root.STRATEGIES)
INFERENCERS = _child("inferencer", root.INFERENCERS)
