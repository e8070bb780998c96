"""What comes from outside is data: it is not run, and it does not say where we read and write."""

import ast
import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from extract.engine import spec
from pipeline import images
from pipeline.code import hashes
from pipeline.errors import PipelineError
from pipeline.schema import Status
from pipeline.stage import start
from shards import convert
from shards.read import Shards
from tests.conftest import ROOT
from tests.fake_extraction import write_shards_of
from tests.stages import make

TRACKLET = "../../../escaped"
PEOPLE = [("0001C1T0001", 1, 0, "train", 3), ("0002C1T0001", 2, 0, "train", 2)]
# Calls that run code, or may.
RUN_CODE = {
    "eval", "exec", "os.system", "os.popen", "pickle.load", "pickle.loads", "yaml.unsafe_load",
    "yaml.full_load", "pd.read_pickle", "joblib.load", "marshal.loads", "shelve.open",
}  # fmt: skip


def calls():
    for name, file in hashes.modules().items():
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                yield f"{name}:{node.lineno}", ast.unparse(node.func), node


def test_no_call_runs_what_stands_in_a_file():
    seen = set()
    for where, called, node in calls():
        seen.add(called)
        arguments = {one.arg: getattr(one.value, "value", None) for one in node.keywords}
        assert called not in RUN_CODE, where
        assert not arguments.get("allow_pickle"), where
        assert not arguments.get("shell"), where
        if called == "torch.load":
            assert arguments.get("weights_only") is True, where
        if called == "yaml.load":
            # The one that reads dvc.yaml, fast.
            assert where.startswith("pipeline.graph"), where
    assert {"torch.load", "yaml.load", "np.load"} <= seen


def spoil_index(extracted, **columns):
    """Change a column of the first row of the index."""
    file = Path("data/index/fake.parquet")
    table = pq.read_table(file)
    rows = table.to_pylist()
    rows[0] |= columns
    pq.write_table(pa.Table.from_pylist(rows, table.schema), file)


@pytest.mark.parametrize("frame", ["../../../etc/passwd", "/etc/passwd"])
def test_an_index_that_names_frames_outside_its_dataset_is_refused(extracted, frame):
    made = extracted(PEOPLE)
    made.frames[0]["path"] = frame
    made.write_pose()
    spoil_index(made, frames=[frame, *made.index[0]["frames"][1:]])
    with pytest.raises(PipelineError, match="leads out of raw/fake"):
        make("shards", "fake")
    with pytest.raises(PipelineError, match="leads out of"):
        convert.main(convert.Direction.EXPORT, Path("out"), "fake", quiet=True)
    assert not Path("data/shards/fake").exists()


def test_an_index_that_names_its_own_files_of_output_is_refused(extracted, project):
    made = extracted(PEOPLE)
    spoil_index(made, split="../../../train")
    before = sorted(project.parent.glob("train*"))
    with pytest.raises(PipelineError, match=r"leads out of|is no split"):
        make("shards", "fake")
    assert sorted(project.parent.glob("train*")) == before


def test_frames_csv_does_not_name_files_elsewhere(project):
    root = project / "raw/fake"
    root.mkdir(parents=True)
    line = "../../secret.jpg,train,1,1,a"
    (root / "frames.csv").write_text(f"path,split,pid,camid,tracklet\n{line}\n")
    text = Path("params.yaml").read_text()
    Path("params.yaml").write_text(text.replace("fake: {format: walkers", "fake: {format: folder"))
    with pytest.raises(PipelineError, match=r"secret.jpg' leads out of raw/fake"):
        make("index", "fake")
    assert not Path("data/index/fake.parquet").exists()


@pytest.fixture
def foreign(extracted, project):
    """Shards that somebody else wrote: their tracklets have names that lead elsewhere."""
    made = extracted(PEOPLE)
    for row in made.index[:1]:
        row["tracklet"] = TRACKLET
    for frame in made.frames:
        frame["tracklet"] = TRACKLET if frame["pid"] == 1 else frame["tracklet"]
    made.write_pose()
    table = pq.read_schema("data/index/fake.parquet")
    pq.write_table(pa.Table.from_pylist(made.index, table), "data/index/fake.parquet")
    write_shards_of()
    return project


def escaped(project):
    return [file for file in project.parent.rglob("*escaped*") if "work/inspect" not in str(file)]


def test_pictures_of_foreign_tracklets_stay_in_their_folder(foreign, command):
    done = command("shards.inspect", "fake", "--worst", 2, "-o", "work/inspect/x", cwd=foreign)
    assert done.returncode == 0, done.stderr
    assert len(list(Path("work/inspect/x").glob("*.png"))) == 2
    assert not escaped(foreign)


def test_joints_of_foreign_tracklets_stay_in_their_folder(foreign):
    Path("work/inspect/deep").mkdir(parents=True)
    where = Path("work/inspect/deep/other")
    convert.main(convert.Direction.EXPORT, where, "fake", convert.Kind.NPY, quiet=True)
    assert len(list(where.iterdir())) == 2
    assert not escaped(foreign)
    before = pq.read_table("data/pose3d/fake/train-00000.parquet")["xyz"]
    convert.main(convert.Direction.IMPORT, where, "fake", convert.Kind.NPY, quiet=True)
    after = pq.read_table("data/pose3d/fake/train-00000.parquet")["xyz"]
    assert len(after) == len(before)
    assert not after.null_count


def test_foreign_shards_that_keep_paths_read_nothing_outside_their_dataset(extracted):
    extracted(PEOPLE)
    write_shards_of(embed_frames=False)
    file = Path("data/shards/fake/train-00000.parquet")
    table = pq.read_table(file)
    secret = Path("raw/secret.jpg")
    secret.write_bytes(b"secret")
    paths = ["../secret.jpg", *table["path"].to_pylist()[1:]]
    at = table.column_names.index("path")
    pq.write_table(table.set_column(at, "path", pa.array(paths)), file)
    with pytest.raises(PipelineError, match=r"'../secret.jpg' leads out of raw/fake"):
        Shards(Path("data/shards/fake")).jpeg([0])
    pq.write_table(table.replace_schema_metadata(
        table.schema.metadata | {b"dataset": b"../.."}), file)  # fmt: skip
    with pytest.raises(PipelineError, match=r"leads out of data/raw"):
        Shards(Path("data/shards/fake")).jpeg([0])


def test_a_pipe_among_the_frames_is_unreadable_and_nobody_waits_for_it(tmp_path):
    os.mkfifo(tmp_path / "a.jpg")
    assert images.read(tmp_path / "a.jpg") == (None, Status.UNREADABLE)
    (tmp_path / "b.jpg").symlink_to("/dev/zero")
    assert images.read(tmp_path / "b.jpg") == (None, Status.UNREADABLE)


@pytest.mark.parametrize("trial", ["../x", "a/b", "..", "."])
def test_a_trial_has_a_name_not_a_path(project, trial):
    with pytest.raises(PipelineError, match=r"--try .* is no name"):
        start("shards", "fake", trial=trial)


@pytest.mark.parametrize("section", ["datasets", "runs", "pretraining"])
def test_a_line_of_params_has_a_name_not_a_path(project, section):
    text = Path("params.yaml").read_text()
    head = f"\n{section}:\n"
    _, _, line = text.split(head)[1].splitlines()[0].partition(":")
    Path("params.yaml").write_text(text.replace(head, f"{head}  ../up:{line}\n"))
    with pytest.raises(PipelineError, match=rf"{section}: '../up' becomes a file's name"):
        start("shards", "fake")


@pytest.mark.parametrize(
    "config", ["data/weights/x/pose2d.py", "conf/../data/weights/x/pose2d.py", "/tmp/pose2d.py"]
)
def test_a_config_that_came_with_weights_is_not_run(tmp_path, monkeypatch, config):
    monkeypatch.chdir(tmp_path)
    for folder in ("conf/weights", "data/weights/x"):
        Path(folder).mkdir(parents=True)
    Path("data/weights/x/pose2d.py").write_text("open('harm', 'w')")
    said = {"source": "local", "licence": "none"}
    said["estimator"] = {"config": config, "checkpoint": "a.pth", "min_score": 0.2}
    Path("conf/weights/x.yaml").write_text(json.dumps(said))
    with pytest.raises(PipelineError, match=r"is no file of conf/|leads out of"):
        spec.load("x").config("estimator")


def test_configs_of_the_project_and_of_mmpose_are_found():
    for file in (ROOT / "conf/weights").glob("*.yaml"):
        found = spec.load(file.stem)
        for kind in ("estimator", "lifter"):
            if getattr(found, kind):
                assert found.config(kind).is_file()
