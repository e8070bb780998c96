"""A gallery of one's own: it grows, is compared with nothing else, and is whole at any time."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from evaluate.search import __main__ as search
from evaluate.search.gallery import Entry, Gallery
from pipeline.errors import PipelineError
from pipeline.files.tensors import read_safetensors
from pipeline.stage import Stage
from tests.conftest import ROOT
from tests.evaluate.search.conftest import folder_of
from tests.stages import make


def test_a_gallery_of_ones_own_grows_and_is_searched(stage: Stage, capsys):
    mine = Path("mine.parquet")
    for tracklet in ("0001C2T0001", "0002C2T0001", "0003C2T0001"):
        folder = folder_of(tracklet)
        search.main("fake", str(folder), gallery=mine, add=True, pid=int(tracklet[:4]), quiet=True)
    assert pq.read_metadata(mine).num_rows == 3
    search.main("fake", "0002C2T0001", gallery=mine, name="again", top=1)
    assert "0002C2T0001" in capsys.readouterr().out.split("distance")[1].split("written")[0]
    assert pq.read_metadata(mine).num_rows == 3


def change_model() -> None:
    weights = Path("models/fake/stage2.safetensors")
    state, about = read_safetensors(weights, "")
    save_file(state, weights, about | {"trained": "again"})


def change_version() -> None:
    table = pq.read_table("mine.parquet")
    about = table.schema.metadata | {b"schema_version": b"99"}
    pq.write_table(table.replace_schema_metadata(about), "mine.parquet")


def break_file() -> None:
    Path("mine.parquet").write_bytes(b"PAR1, but not for long")


@pytest.mark.parametrize("add", [[], ["--add"]])
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (change_model, "was filled by another model than is trained now"),
        (change_version, "has schema version 99, this program reads"),
        (break_file, "is not a readable Parquet file"),
        (lambda: shutil.copy("data/features/fake.parquet", "mine.parquet"), "it lacks jpeg"),
    ],
)
def test_a_gallery_that_cannot_be_compared_is_one_line(
    stage, command, project, spoil, message, add
):
    search.main("fake", "0001C1T0001", gallery=Path("mine.parquet"), add=True, quiet=True)
    spoil()
    before = Path("mine.parquet").read_bytes()
    arguments = ["--run", "fake", "--query", "0002C1T0001", "--gallery", "mine.parquet", *add]
    done = command("evaluate.search", *arguments, cwd=project)
    assert done.returncode == 1
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert Path("mine.parquet").read_bytes() == before


def test_features_before_and_behind_the_necks_are_never_compared(stage: Stage):
    mine, folder = Path("mine.parquet"), str(folder_of("0001C2T0001"))
    search.main("fake", folder, gallery=mine, add=True, quiet=True)
    other = "after" if stage.params.embed.neck == "before" else "before"
    for gallery, message in ((mine, r"with another embed"), (None, r"made with embed\.neck")):
        with pytest.raises(PipelineError, match=message):
            search.main("fake", folder, [f"embed.neck={other}"], gallery=gallery, quiet=True)


BOTH = ["embed.descriptor=both", "embed.skeleton_weight=0.3"]


@pytest.mark.parametrize(
    ("other", "name"),
    [
        (["embed.descriptor=skeleton"], "descriptor"),
        (["embed.descriptor=both", "embed.skeleton_weight=0.5"], "skeleton_weight"),
    ],
)
def test_features_described_in_another_way_are_never_compared(stage: Stage, other, name):
    mine = Path("mine.parquet")
    make("embed", "fake", *BOTH)
    search.main("fake", "0001C1T0001", BOTH, gallery=mine, add=True, quiet=True)
    with pytest.raises(PipelineError, match=rf"made with embed\.{name}=.*dvc repro embed"):
        search.main("fake", "0001C1T0001", other, quiet=True)
    make("embed", "fake", *other)
    with pytest.raises(PipelineError, match=r"with another embed\.descriptor, neck or"):
        search.main("fake", "0001C1T0001", other, gallery=mine, quiet=True)


def test_a_feature_of_another_length_is_one_line():
    known = gallery_of(np.eye(3, 8, dtype=np.float32))
    frame = np.zeros((4, 4, 3), np.uint8)
    with pytest.raises(PipelineError, match="the query has 9 numbers and the gallery 8"):
        known.add(Entry("new", feature=np.ones(9), frame=frame))


def test_a_gallery_is_whole_when_writing_it_fails(stage: Stage, monkeypatch):
    mine = Path("mine.parquet")
    search.main("fake", "0001C1T0001", gallery=mine, add=True, quiet=True)
    before = mine.read_bytes()

    def full(table, file, *_, **__):
        Path(file).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pq, "write_table", full)
    with pytest.raises(PipelineError, match=r"mine.parquet cannot .* No space left"):
        search.main("fake", "0002C1T0001", gallery=mine, add=True, quiet=True)
    assert mine.read_bytes() == before
    assert [file.name for file in Path().glob("*mine*") if file.suffix != ".lock"] == [
        "mine.parquet"
    ]


def test_a_name_stands_for_one_tracklet(stage: Stage):
    for expected in (None, pytest.raises(PipelineError, match="Choose another --name")):
        arguments = {"gallery": Path("mine.parquet"), "add": True, "quiet": True}
        if expected is None:
            search.main("fake", "0001C1T0001", **arguments)
        else:
            with expected:
                search.main("fake", "0001C1T0001", **arguments)


ADDING = """
import sys
from pathlib import Path
from evaluate.search import __main__ as search
print("ready", flush=True)
sys.stdin.readline()
for i in range(10):
    name = f"{sys.argv[2]}{i}"
    search.main("fake", "0001C1T0001", gallery=Path(sys.argv[1]), add=True, name=name)
"""


def test_two_projects_that_add_to_one_gallery_at_once_lose_nothing(stage: Stage, project: Path):
    other = shutil.copytree(project, project.parent / f"{project.name}-other")
    shared = project.parent / f"{project.name}-shared.parquet"
    (other / "mine.parquet").symlink_to(shared)
    script = ["-c", ADDING]
    both = [
        subprocess.Popen(
            [sys.executable, *script, str(gallery), name], cwd=folder, text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for folder, gallery, name in ((project, shared, "a"), (other, "mine.parquet", "b"))
    ]  # fmt: skip
    for process in both:
        assert process.stdout.readline() == "ready\n"
    for process in both:
        process.stdin.write("\n")
        process.stdin.flush()
    for process in both:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
    found = pq.read_table(shared, columns=["tracklet"])["tracklet"].to_pylist()
    assert sorted(found) == sorted(f"{name}{i}" for name in "ab" for i in range(10))
    assert (other / "mine.parquet").is_symlink()


def test_a_name_that_looks_like_a_path_stays_in_the_folder(stage: Stage):
    search.main("fake", "0001C1T0001", name="../../../out/../x", quiet=True)
    found = [file.name for file in Path("work/search").iterdir()]
    assert found == ["%2E.%2F..%2F..%2Fout%2F..%2Fx.png"]


def test_a_gallery_that_is_a_pipe_is_one_line(stage: Stage):
    os.mkfifo("mine.parquet")
    for add in (False, True):
        with pytest.raises(PipelineError, match="is a device, pipe or socket, no file"):
            search.main("fake", "0001C1T0001", gallery=Path("mine.parquet"), add=add, quiet=True)


def gallery_of(features: np.ndarray) -> Gallery:
    table = pa.table(
        {
            "tracklet": [f"{i:05}" for i in range(len(features))],
            "feature": pa.FixedSizeListArray.from_arrays(features.ravel(), features.shape[1]),
        }
    )
    return Gallery(table, "", None)


def test_nearest_of_a_large_gallery_are_exact():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(10_000, 64)).astype(np.float32)
    unit = features.astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    query = rng.normal(size=64)
    expected = np.argsort(1 - unit @ (query / np.linalg.norm(query)), kind="stable")[:20]
    found = gallery_of(features).nearest(Entry("new", feature=query), 20)
    assert [row for row, _ in found] == expected.tolist()


@given(st.lists(st.integers(0, 7), min_size=1, max_size=60), st.integers(0, 7), st.integers(1, 70))
def test_of_equally_near_tracklets_the_first_by_name_come_first(kinds, query, count):
    # Vectors of length one whose products are exact, many of them equal.
    signs = 1 - 2 * ((np.arange(8)[:, None] >> np.arange(3)) & 1)
    vectors = np.concatenate([0.5 * signs, np.full((8, 1), 0.5)], axis=1).astype(np.float32)
    known = gallery_of(vectors[kinds])
    expected = np.argsort(1 - vectors[kinds] @ vectors[query], kind="stable")[:count]
    found = known.nearest(Entry("new", feature=vectors[query]), count)
    assert [row for row, _ in found] == expected.tolist()
    turned = Gallery(known.table.take(np.arange(len(kinds))[::-1]), "", None)
    again = turned.nearest(Entry("new", feature=vectors[query]), count)
    assert [(len(kinds) - 1 - row, distance) for row, distance in again] == found
