"""MMEngine registries of scope `train`, one for each root registry that the Runner touches.

A configuration names a class of this project in full, as `train.models.csip.CsipModel`, and one of
MMEngine's or PyTorch's by its name alone. So nothing has to be listed or imported for its side
effect: the module of a class is imported when the class is asked for.
"""

from mmengine import registry as root
from mmengine.registry import Registry


def _child(name: str, parent: Registry) -> Registry:
    return Registry(name, parent=parent, scope="train", locations=[])


MODELS = _child("model", root.MODELS)
MODEL_WRAPPERS = _child("model wrapper", root.MODEL_WRAPPERS)
DATASETS = _child("dataset", root.DATASETS)
DATA_SAMPLERS = _child("data sampler", root.DATA_SAMPLERS)
FUNCTIONS = _child("function", root.FUNCTIONS)
TRANSFORMS = _child("transform", root.TRANSFORMS)
HOOKS = _child("hook", root.HOOKS)
LOOPS = _child("loop", root.LOOPS)
OPTIMIZERS = _child("optimizer", root.OPTIMIZERS)
OPTIM_WRAPPERS = _child("optimizer wrapper", root.OPTIM_WRAPPERS)
OPTIM_WRAPPER_CONSTRUCTORS = _child(
    "optimizer wrapper constructor", root.OPTIM_WRAPPER_CONSTRUCTORS
)
PARAM_SCHEDULERS = _child("parameter scheduler", root.PARAM_SCHEDULERS)
EVALUATOR = _child("evaluator", root.EVALUATOR)
METRICS = _child("metric", root.METRICS)
LOG_PROCESSORS = _child("log processor", root.LOG_PROCESSORS)
VISUALIZERS = _child("visualizer", root.VISUALIZERS)
VISBACKENDS = _child("visualization backend", root.VISBACKENDS)
RUNNERS = _child("runner", root.RUNNERS)
RUNNER_CONSTRUCTORS = _child("runner constructor", root.RUNNER_CONSTRUCTORS)
STRATEGIES = _child("strategy", root.STRATEGIES)
INFERENCERS = _child("inferencer", root.INFERENCERS)
