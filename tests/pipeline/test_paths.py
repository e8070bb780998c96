import contextlib
import errno
import os
import socket
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import PipelineError
from pipeline.paths import (
    below,
    dataset_root,
    discard,
    publish_dir,
    read_bytes,
    sweep,
    write_atomic,
    write_together,
)

NULL = Path("/dev/null")


def test_a_failed_write_leaves_the_old_file_and_no_rubbish(tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("old")

    def interrupted():
        with write_atomic(file) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert file.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_finished_write_replaces_the_file(tmp_path):
    file = tmp_path / "new" / "a.txt"
    with write_atomic(file) as temporary:
        temporary.write_text("whole")
        assert not file.exists()
    assert file.read_text() == "whole"


def test_others_may_read_what_a_library_wrote_as_private(tmp_path):
    from safetensors.numpy import save_file

    tmp_path.chmod(0o750)
    with write_atomic(tmp_path / "model.safetensors") as temporary:
        save_file({"weight": np.zeros(3)}, temporary)
    assert (tmp_path / "model.safetensors").stat().st_mode & 0o777 == 0o640


def test_a_publication_holds_nothing_half_written(tmp_path):
    made, final = tmp_path / "made", tmp_path / "final"
    (made / "inner").mkdir(parents=True)
    for name in (".a.txt.77.tmp", "inner/.b.77.tmp", "c.txt", ".kept", "d.tmp"):
        (made / name).touch()
    publish_dir(made, final)
    found = {str(file.relative_to(final)) for file in final.rglob("*") if file.is_file()}
    assert found == {"c.txt", ".kept", "d.tmp"}


def test_a_folder_is_discarded_whole_with_what_an_earlier_kill_left(tmp_path):
    for name in ("unwanted/a", ".discarded/old", "wanted/b"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    discard(tmp_path / "unwanted")
    assert [path.name for path in tmp_path.iterdir()] == ["wanted"]


def test_what_killed_runs_left_is_swept_and_what_the_living_write_is_not(tmp_path):
    for name in (".a.txt.999999999.tmp", f".b.txt.{os.getpid()}.tmp", "c.999999999.tmp", ".d.tmp"):
        (tmp_path / name).touch()
    sweep(tmp_path / "a.txt")
    kept = {f".b.txt.{os.getpid()}.tmp", "c.999999999.tmp", ".d.tmp"}
    assert {file.name for file in tmp_path.iterdir()} == kept
    sweep(tmp_path / "nowhere" / "a.txt")


def test_publishing_a_folder_replaces_all_of_the_old_one(tmp_path):
    made, final = tmp_path / "made", tmp_path / "out" / "final"
    final.mkdir(parents=True)
    (final / "stale").touch()
    made.mkdir()
    (made / "fresh").write_text("x")
    publish_dir(made, final)
    assert [path.name for path in final.iterdir()] == ["fresh"]
    assert [path.name for path in final.parent.iterdir()] == ["final"]
    assert not made.exists()


@pytest.mark.parametrize("name", ["../a", "a/../../b", "/etc/passwd", "a/..", "a\0b"])
def test_a_name_from_elsewhere_does_not_lead_out_of_its_folder(tmp_path, name):
    with pytest.raises(PipelineError, match="leads out of"):
        below(tmp_path, name)


@pytest.mark.parametrize("name", ["a/b.jpg", "..a/b..c", "...", "a b/ü.png"])
def test_other_names_are_taken_as_they_are(tmp_path, name):
    assert below(tmp_path, name) == tmp_path / name


def pipe(path):
    os.mkfifo(path)
    return path


def socket_at(path):
    # The name of a socket is short: make it where it is bound.
    with contextlib.chdir(path.parent), socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path.name)
    return path


@pytest.mark.parametrize("make", [pipe, socket_at, lambda path: path.parent, lambda _: NULL])
def test_what_is_no_file_is_neither_read_nor_replaced(tmp_path, make):
    special = make(tmp_path / "special")
    before = special.stat().st_mode
    with pytest.raises(PipelineError, match="no file"), write_atomic(special) as temporary:
        temporary.touch()
    with pytest.raises(OSError, match="no regular file"):
        read_bytes(special)
    assert special.stat().st_mode == before
    assert not list(tmp_path.glob(".*.tmp"))


def test_a_link_to_a_file_is_read(tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    assert read_bytes(tmp_path / "link") == b"x"


def test_a_dataset_that_was_unpacked_lies_where_it_was_unpacked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REID_DATA_ROOT", "disk")
    assert dataset_root("a") == Path("data/raw/a")
    Path("disk/a").mkdir(parents=True)
    assert dataset_root("a") == Path("disk/a")
    Path("data/unpacked/a").mkdir(parents=True)
    assert dataset_root("a") == Path("data/unpacked/a")
    with pytest.raises(PipelineError, match="leads out of"):
        dataset_root("../../etc")


def test_a_file_is_written_without_what_killed_runs_left_of_it(tmp_path):
    dead, other, alive = (
        tmp_path / name
        for name in (
            ".a[1].json.4194305.tmp",
            ".b.json.4194305.tmp",
            f".a[1].json.{os.getppid()}.tmp",
        )
    )
    for file in (dead, other, alive):
        file.write_text("half")
    with write_atomic(tmp_path / "a[1].json") as temporary:
        temporary.write_text("whole")
    assert not dead.exists()
    assert other.exists()
    assert alive.exists()


def test_files_that_say_one_thing_are_all_new_or_none(tmp_path):
    files = [tmp_path / "scores.json", tmp_path / "curve.json"]
    files[0].write_text("old")

    def fail() -> None:
        with write_together(files) as temporary:
            temporary[0].write_text("new")
            raise OSError(errno.EIO, "failing")

    with pytest.raises(OSError, match="failing"):
        fail()
    assert [file.name for file in tmp_path.iterdir()] == ["scores.json"]
    assert files[0].read_text() == "old"
    with write_together(files) as temporary:
        for one in temporary:
            one.write_text("new")
    assert [file.read_text() for file in files] == ["new", "new"]
