from pathlib import Path

import pytest

from pipeline.code.fingerprint import fingerprint, is_done, note_done


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("out").mkdir()
    Path("out/a").write_bytes(b"a" * 200_000)
    Path("out/b").write_bytes(b"b")
    return Path("out")


def test_it_follows_contents_and_parts_not_names():
    made = fingerprint(Path("out/a"), knobs={"x": 1, "y": 2})
    Path("out/a").rename("out/c")
    assert made == fingerprint(Path("out/c"), knobs={"y": 2, "x": 1})
    assert made != fingerprint(Path("out/b"), knobs={"x": 1, "y": 2})
    assert made != fingerprint(Path("out/c"), knobs={"x": 1, "y": 3})


def test_done_is_what_was_published_and_is_still_there(folder):
    assert not is_done("abc", folder)
    note_done("abc", folder)
    assert is_done("abc", folder)
    assert not is_done("abd", folder)


def test_a_copy_of_the_same_bytes_is_still_done(folder):
    # As DVC leaves it, which links or copies files out of its cache.
    note_done("abc", folder)
    data = Path("out/a").read_bytes()
    Path("out/a").unlink()
    Path("out/a").write_bytes(data)
    assert is_done("abc", folder)


@pytest.mark.parametrize("change", ["delete", "truncate", "add", "replace", "delete all"])
def test_what_was_lost_or_replaced_is_not_done(folder, change):
    note_done("abc", folder)
    if change == "delete":
        Path("out/b").unlink()
    elif change == "truncate":
        Path("out/a").write_bytes(b"a" * 199_999)
    elif change == "add":
        Path("out/c").touch()
    elif change == "replace":
        Path("out/b").write_bytes(b"c")
    else:
        Path("out/a").unlink()
        Path("out/b").unlink()
        folder.rmdir()
    assert not is_done("abc", folder)


def test_a_damaged_note_is_no_note(folder):
    note_done("abc", folder)
    next(Path("work/done").iterdir()).write_text("{")
    assert not is_done("abc", folder)
