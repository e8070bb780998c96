"""Curves of a training run, in the files that `dvc plots` and DVCLive's viewers read."""

from typing import Any

from mmengine.visualization import DVCLiveVisBackend
from mmengine.visualization.vis_backend import force_init_env

from train.registry import VISBACKENDS


@VISBACKENDS.register_module()
class StageLiveBackend(DVCLiveVisBackend):
    """DVCLive that only ever writes below its own folder, and starts that afresh.

    MMEngine's backend runs `dvc init -f` where git has no identity, which deletes the project's DVC
    configuration, and DVCLive itself makes a repository where it finds none and saves experiments.
    A DVC stage must do neither.

    Args:
        save_dir: Folder of the curves.
    """

    def __init__(self, save_dir: str) -> None:
        """Take the folder; nothing is written before the first number comes."""
        super().__init__(save_dir)

    def _init_env(self) -> None:
        from dvclive import Live

        class StageLive(Live):
            def _init_dvc(self) -> None:
                self._dvc_file = "dvc.yaml"

        self._dvclive = StageLive(dir=self._save_dir, report=None, save_dvc_exp=False, dvcyaml=None)

    def add_config(self, config: Any, **_: Any) -> None:
        """Do nothing: the resolved configuration is written beside the report."""

    @force_init_env
    def add_scalars(
        self, scalar_dict: dict[str, float], step: int = 0, file_path: str | None = None, **_: Any
    ) -> None:
        """Record the numbers of one step."""
        self._dvclive.step = step
        for name, value in scalar_dict.items():
            self._dvclive.log_metric(name, value)
        self._dvclive.make_summary()

    def close(self) -> None:
        """Write the summary."""
        if hasattr(self, "_dvclive"):
            self._dvclive.end()
