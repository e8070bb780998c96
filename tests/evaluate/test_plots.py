"""`dvc plots show` draws what the stages leave: curves, bars, pictures."""

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

DATASETS = ("walkers", "mars")


def write_reports(folder: Path, plots: list) -> None:
    """Make every file that the plots name, with two rows and the columns they ask for."""
    for plot in plots:
        if isinstance(plot, str):
            (folder / plot).mkdir(parents=True)
            shutil.copy(ROOT / "docs/ranked.png", folder / plot / "best.png")
            continue
        (options,) = plot.values()
        for name, columns in options["y"].items():
            names = [options["x"], *([columns] if isinstance(columns, str) else columns)]
            rows = [{column: 0.5 + i for column in names} for i in range(2)]
            file = folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            if file.suffix == ".json":
                file.write_text(json.dumps(rows))
            else:
                lines = [names, *([str(row[column]) for column in names] for row in rows)]
                file.write_text("\n".join("\t".join(line) for line in lines) + "\n")


@pytest.fixture
def page(tmp_path: Path) -> str:
    """What `dvc plots show` makes of dvc.yaml's plots, with the second dataset enabled."""
    text = (ROOT / "dvc.yaml").read_text()
    text = "plots:\n" + text.split("\nplots:\n")[1].replace("# reports/mars", "reports/mars")
    (tmp_path / "dvc.yaml").write_text(text)
    write_reports(tmp_path, yaml.safe_load(text)["plots"])
    shutil.copytree(ROOT / ".dvc/plots", tmp_path / ".dvc/plots")
    (tmp_path / ".dvc/config").write_text("[core]\n    no_scm = true\n    analytics = false\n")
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "plots", "show", "-o", "shown"],
        cwd=tmp_path,
        env=os.environ | {"DVC_SITE_CACHE_DIR": str(tmp_path / "site")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "failed to load" not in done.stderr
    return (tmp_path / "shown/index.html").read_text()


def specifications(page: str) -> dict[str, dict]:
    found = [json.loads(text) for text in re.findall(r"var spec = (\{.*?\});?\n", page)]
    return {spec["title"]["text"]: spec for spec in found}


def test_every_plot_is_filled_and_pictures_are_shown(page: str):
    shown = specifications(page)
    assert len(shown) == 5
    assert "<DVC_METRIC" not in page
    assert all(spec["data"]["values"] for spec in shown.values())
    assert "ranked_best.png" in page


def test_one_chart_holds_the_cmc_of_all_datasets(page: str):
    (cmc,) = (spec for title, spec in specifications(page).items() if "CMC" in title)
    curves = {row["filename::field"] for row in cmc["data"]["values"]}
    expected = {f"{name}/cmc.json::{y}" for name in DATASETS for y in ("cmc", "reranked")}
    assert curves == expected
    # What tells them apart is made of that column, and is a colour.
    assert "datum['filename::field']" in cmc["transform"][0]["calculate"]
    assert cmc["encoding"]["color"]["field"] == cmc["transform"][0]["as"]
