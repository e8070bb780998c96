"""Weights averaged over the updates, with statistics of batch norms that are their own."""

from typing import Any

import torch
from mmengine.hooks import EMAHook
from mmengine.runner import Runner
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from train.registry import HOOKS


@HOOKS.register_module()
class AverageHook(EMAHook):
    """Keep a running average of the weights, which is what is validated and published.

    Statistics of batch norms belong to the weights that made the features. The average of the
    weights has none until they are taken anew (Izmailov et al., UAI 2018, section 3.2).

    Args:
        decay: Share of the average that stays at each update.
    """

    def __init__(self, decay: float) -> None:
        """Take the decay."""
        super().__init__(momentum=1 - decay)

    def after_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        """Average after an update, not after each of the batches that it accumulates."""
        if runner.optim_wrapper.should_update():
            super().after_train_iter(runner, *args, **kwargs)

    def before_val_epoch(self, runner: Runner) -> None:
        """Put the average, ready for use, in the place of the model."""
        take_statistics(self.ema_model.module, runner.train_dataloader)
        super().before_val_epoch(runner)

    def after_train(self, runner: Runner) -> None:
        """Make the average ready to be published, unless that of the best epoch was kept."""
        if "best" not in runner.message_hub.runtime_info:
            take_statistics(self.ema_model.module, runner.train_dataloader)

    def _swap_ema_parameters(self) -> None:
        """Exchange parameters and buffers of both models."""
        theirs = self.src_model.state_dict()
        for name, own in self.ema_model.module.state_dict().items():
            kept = own.clone()
            own.copy_(theirs[name])
            theirs[name].copy_(kept)


@torch.no_grad()
def take_statistics(model: nn.Module, loader: Any) -> None:
    """Give the batch norms that train the statistics of the first epoch's clips, in float32.

    Everything else is in evaluation mode, so nothing about it is random. The batches are those of
    training, for a norm's variance depends on how many identities a batch holds.

    Args:
        model: Any of ours. It is left in evaluation mode.
        loader: Of the training clips.
    """
    norms = [one for one in model.train().modules() if isinstance(one, _BatchNorm) and one.training]
    model.eval()
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.train().reset_running_stats()
        # The plain mean over the batches.
        norm.momentum = None
    loader.sampler.set_epoch(0)
    for batch in loader:
        model(**model.data_preprocessor(batch), mode="loss")
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.eval()
