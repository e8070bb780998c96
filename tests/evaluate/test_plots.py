"""`dvc plots show` draws what the stages leave for every run: curves, bars, pictures."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT

RUNS = ("walkers", "second")


def plots_of(run: str) -> dict[str, dict]:
    """Return the plots of all stages of a run: what to draw of each file, nothing of pictures."""
    found: dict[str, dict] = {}
    text = (ROOT / "dvc.yaml").read_text().replace("${key}", run)
    for stage in yaml.safe_load(text)["stages"].values():
        for plot in stage.get("do", stage).get("plots", []):
            file, options = (plot, {}) if isinstance(plot, str) else next(iter(plot.items()))
            found[file] = options
    return found


def write_reports(folder: Path, run: str) -> None:
    """Make every file that the plots of a run name, with two rows and the columns they ask for."""
    for name, options in plots_of(run).items():
        file = folder / name
        if not file.suffix:
            file.mkdir(parents=True)
            shutil.copy(ROOT / "docs/ranked.png", file / "best.png")
            continue
        names = [options["x"], options["y"], *(["reranked"] if file.stem == "cmc" else [])]
        rows = [{column: 0.5 + i for column in names} for i in range(2)]
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.suffix == ".json":
            file.write_text(json.dumps(rows))
        else:
            lines = [names, *([str(row[column]) for column in names] for row in rows)]
            file.write_text("\n".join("\t".join(line) for line in lines) + "\n")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What `dvc plots show` makes of the project's dvc.yaml, with a second run enabled."""
    folder = tmp_path_factory.mktemp("plots")
    knobs = yaml.safe_load((ROOT / "params.yaml").read_text())
    for section in ("pretraining", "runs"):
        knobs[section]["second"] = knobs[section]["walkers"]
    (folder / "params.yaml").write_text(yaml.safe_dump(knobs))
    shutil.copy(ROOT / "dvc.yaml", folder / "dvc.yaml")
    for run in RUNS:
        write_reports(folder, run)
    shutil.copytree(ROOT / ".dvc/plots", folder / ".dvc/plots")
    (folder / ".dvc/config").write_text("[core]\n    no_scm = true\n    analytics = false\n")
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "plots", "show", "-o", "shown"],
        cwd=folder,
        env=os.environ | {"DVC_SITE_CACHE_DIR": str(folder / "site")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "failed to load" not in done.stderr
    return (folder / "shown/index.html").read_text()


def specifications(page: str) -> list[dict]:
    return [json.loads(text) for text in re.findall(r"var spec = (\{.*?\});?\n", page)]


def test_every_plot_of_every_run_is_filled_and_pictures_are_shown(page: str):
    shown = specifications(page)
    drawn = [options["title"] for run in RUNS for options in plots_of(run).values() if options]
    assert sorted(spec["title"]["text"] for spec in shown) == sorted(drawn)
    assert "<DVC_METRIC" not in page
    assert all(spec["data"]["values"] for spec in shown)
    for run in RUNS:
        assert f"{run}_ranked_best.png" in page


def test_one_chart_holds_the_cmc_plain_and_reranked(page: str):
    charts = [spec for spec in specifications(page) if "CMC" in spec["title"]["text"]]
    assert len(charts) == len(RUNS)
    for chart in charts:
        fold = chart["transform"][0]
        assert fold["fold"] == ["cmc", "reranked"]
        assert all(name in row for name in fold["fold"] for row in chart["data"]["values"])
        assert chart["encoding"]["color"]["field"] == fold["as"][0]
        assert chart["encoding"]["y"]["field"] == fold["as"][1]
