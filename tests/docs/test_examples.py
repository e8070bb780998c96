"""What the documentation tells people to type works, word by word."""

import re
import runpy
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from pipeline import paths
from pipeline.params.config import load, merge
from tests.conftest import ROOT
from tests.docs.pages import PAGES, blocks, to_run
from tests.evaluate.search.conftest import PEOPLE
from tests.fake_extraction import Extracted, write_shards_of
from tests.models import publish
from tests.stages import make

TRAINED = [
    (f"{pid:04}C{camera}T0001", pid, camera - 1, "train", 5) for pid in (7, 8) for camera in (1, 2)
]
# As small as training can be.
TINY = {
    "stage1": {"skeleton_epochs": 0, "epochs": 1, "identities": 2, "clips": 2},
    "stage2": {"epochs": 1, "identities": 2, "clips": 2},
    "runtime": {"workers": 1},
}


def change_knobs(changes: dict) -> None:
    file = Path("params.yaml")
    file.write_text(yaml.safe_dump(merge(yaml.safe_load(file.read_text()), changes)))


def run(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run `python -m module arguments` inside this process, where torch is imported already."""
    python, flag, module, *arguments = line.split()
    assert (python, flag) == ("python", "-m")
    monkeypatch.setattr(sys, "argv", [module, *arguments])
    for name in (module, f"{module}.__main__"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    # Typer ends with an exit code only when something is wrong.
    with pytest.raises(SystemExit) as end:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    assert not end.value.code, line


@pytest.fixture
def walkers(extracted: Callable[..., Extracted]) -> Extracted:
    """Stand in for the rendered dataset: a smaller one of its name."""
    made = extracted([*PEOPLE, *TRAINED])
    change_knobs(TINY)
    Path("data/raw").mkdir()
    shutil.copytree("raw/fake", "data/raw/walkers")
    for kind in ("pose2d", "pose3d"):
        shutil.copytree(f"data/{kind}/fake", f"data/{kind}/walkers")
    shutil.copy("data/index/fake.parquet", "data/index/walkers.parquet")
    write_shards_of("walkers")
    return made


@pytest.mark.parametrize("number", range(len(blocks("docs/reading_shards.md", "python"))))
def test_shards_are_read_as_the_page_says(walkers: Extracted, number: int, capsys, monkeypatch):
    script = blocks("docs/reading_shards.md", "python")[number]
    for module in re.findall(r"^(?:import|from) (polars|duckdb|datasets)\b", script, re.MULTILINE):
        found = pytest.importorskip(module, reason=f"{module} is not installed")
        if module == "datasets":
            monkeypatch.setattr(found.config, "HF_DATASETS_CACHE", Path("cache").absolute())
    exec(script, {})
    assert capsys.readouterr().out.strip()


def test_commands_about_shards_work(walkers: Extracted, monkeypatch):
    for line in to_run("docs/reading_shards.md"):
        run(line, monkeypatch)


def test_a_model_is_taken_away_as_the_page_says(walkers: Extracted, monkeypatch, capsys):
    pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
    publish("walkers")
    make("embed", "walkers")
    make("score", "walkers")
    for name, tracklet in (("anna", "0001C1T0001"), ("somebody", "0002C2T0001")):
        Path(name).mkdir()
        for file in Path("raw/fake").rglob(f"{tracklet}F*.jpg"):
            shutil.copy(file, name)
    for line in to_run("docs/taking_a_model_away.md"):
        run(line, monkeypatch)
    assert "ONNX Runtime" in capsys.readouterr().out
    use, by_onnx = blocks("docs/taking_a_model_away.md", "python")
    exec(use, {})
    assert re.search(r"Likeness\(distance=0\.\d+, ", capsys.readouterr().out)
    exec(by_onnx, {})
    assert re.fullmatch(r"\(2, \d+\)", capsys.readouterr().out.strip())
    assert len(list(Path("gait").rglob("*.pkl"))) == 12


def test_the_boxes_of_the_page_are_read(tmp_path):
    from collections import Counter

    from extract.tracks.read import FORMATS, read_boxes
    from extract.tracks.video import Video

    (example,) = blocks("docs/own_videos.md", "csv")
    (tmp_path / "walk.csv").write_text(example)
    boxes = read_boxes(tmp_path / "walk.csv", Video(tmp_path), Counter())
    assert [(box.frame, box.track, *box[2:6]) for box in boxes] == [
        (0, "anna", 40, 20, 32, 64),
        (1, "anna", 42, 20, 32, 64),
    ]
    text = (ROOT / "docs/own_videos.md").read_text()
    assert set(re.findall(r"\| `(\w+)` \| [01] \|", text)) == FORMATS.keys()


def test_a_run_of_the_page_that_sees_skeletons_alone_is_compared_with_no_colours(
    walkers: Extracted,
):
    (lines,) = (block for block in blocks("docs/runs.md", "yaml") if "bones" in block)
    change_knobs(yaml.safe_load(lines))
    for stage in ("stage2", "embed"):
        make(stage, "bones")
    table = pq.read_table("data/features/bones_baselines.parquet")
    assert {"random", "untrained"} <= set(table.column_names)
    assert "colour" not in table.column_names


def test_another_encoder_is_tried_as_the_page_says(walkers: Extracted, monkeypatch, capsys):
    (line,) = to_run("docs/adding_an_encoder.md")
    run(line, monkeypatch)
    assert "work/try/trial/models/walkers/stage1.safetensors" in capsys.readouterr().out


def test_the_folder_layout_of_the_page_is_read(project: Path, extracted, command):
    extracted([("0031C1T0001", 31, 0, "query", 2)])
    picture = next(Path("raw/fake").rglob("*.jpg"))
    (folders,) = re.findall(
        r"`(<split>[^`]*\.jpg)`", (ROOT / "docs/adding_a_dataset.md").read_text()
    )
    for split, pid, camera in (
        ("train", "0001", "a"),
        ("query", "31", "a"),
        ("gallery", "31", "b"),
    ):
        name = folders.replace("<split>", split).replace("<pid>", pid)
        file = Path("raw/mine") / name.replace("<camera>", camera).replace("<tracklet>", "walk1")
        file = file.with_name("000001.jpg")
        file.parent.mkdir(parents=True)
        shutil.copy(picture, file)
    (lines,) = blocks("docs/adding_a_dataset.md", "yaml")
    change_knobs(yaml.safe_load(lines))
    (first,) = to_run("docs/adding_a_dataset.md")
    done = command(*first.replace("python -m", "").split(), cwd=project)
    assert done.returncode == 0, done.stderr
    assert Path("data/index/mine.parquet").is_file()


def test_the_parser_of_the_page_reads_its_file(tmp_path: Path):
    from extract.tracklets import ParserInput

    (script,) = blocks("docs/adding_a_dataset.md", "python")
    names: dict = {}
    exec(script, names)
    (tmp_path / "split.txt").write_text("t1 7 0 train a/1.jpg a/2.jpg\n")
    (found,) = names["read"](ParserInput(tmp_path))
    assert (found.pid, found.frames, found.frame_numbers) == (7, ["a/1.jpg", "a/2.jpg"], [0, 1])


def test_the_encoder_of_the_page_gives_tokens(capsys):
    (script,) = blocks("docs/adding_an_encoder.md", "python")
    exec(script, {})
    assert capsys.readouterr().out.strip() == "torch.Size([2, 9, 48]) torch.Size([2, 9, 16])"


def test_the_encoder_file_of_the_page_is_one_of_a_stage(tmp_path, monkeypatch):
    from train.registry import MODELS
    from train.run.compose import compose

    (text,) = blocks("docs/adding_an_encoder.md", "yaml")
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    (tmp_path / "conf/encoder/mine.yaml").write_text(text)
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    model = compose("stage1", load(path=ROOT / "params.yaml"), "mine")["model"]
    assert MODELS.build(model["visual"]).out_dim == model["skeleton"]["out_dim"] == 512


def enabled() -> dict:
    """Return params.yaml with every line that is commented out enabled."""
    text = (ROOT / "params.yaml").read_text()
    text = re.sub(r"^  # (?=[\w-]+: \{)", "  ", text, flags=re.MULTILINE)
    return yaml.safe_load(text.replace("kinect: {}", "kinect:"))


@pytest.mark.parametrize(
    "text",
    [
        block
        for page in PAGES
        if page.name != "CONTRIBUTING.md"
        for block in blocks(str(page), "yaml")
        if "\nvisual:" not in block
    ],
)
def test_lines_of_the_pages_are_knobs(tmp_path: Path, text: str):
    file = tmp_path / "params.yaml"
    file.write_text(yaml.safe_dump(merge(enabled(), yaml.safe_load(text))))
    params = load(path=file)
    assert all(params.encoder_of(run) for run in params.runs)
    for line in (*params.pretraining.values(), *params.runs.values()):
        assert line.recipe == "conf/recipe/plain.yaml" or (ROOT / line.recipe).is_file()
