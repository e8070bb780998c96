import pytest

from pipeline import console


@pytest.fixture(autouse=True)
def loud():
    console.set_quiet(False)
    yield
    console.set_quiet(False)


def test_without_a_terminal_progress_is_a_line_every_heartbeat(capsys, monkeypatch):
    monkeypatch.setattr(console, "HEARTBEAT_S", 0.0)
    with console.progress(10, "frames", "pose2d", done=4) as meter:
        meter.advance(3, failures=1)
    line = capsys.readouterr().out.strip()
    assert line.startswith("pose2d: 7/10 frames, ")
    assert "eta" in line
    assert line.endswith("failures 1")


def test_work_of_an_earlier_run_does_not_count_in_the_rate(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    with console.progress(1000, "frames", "pose2d", done=500) as meter:
        now[0] += 2.0
        meter.advance(10)
        assert meter.rate == pytest.approx(5.0)


def test_tables_fit_eighty_columns_and_carry_no_colours(capsys):
    console.table("T", ("name", "value"), [("a" * 100, 1.5), ("b", 2)])
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert "\x1b" not in out


def test_a_title_stays_on_its_line_above_a_narrow_table(capsys):
    console.table("A title that is wider than what is below", ("a", "b"), [(1, 2)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "A title that is wider than what is below"
    assert [line.split() for line in lines[1:]] == [["a", "b"], ["1", "2"]]


def test_quiet_leaves_warnings_only(capsys):
    console.set_quiet(True)
    console.say("x")
    console.summary("a", "b", "c")
    console.table("T", ("a",), [(1,)])
    console.warn("look")
    seen = capsys.readouterr()
    assert seen.out == ""
    assert seen.err == "warning: look\n"
