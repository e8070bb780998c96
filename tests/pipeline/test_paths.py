import pytest

from pipeline.paths import discard, publish_dir, write_atomic


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
