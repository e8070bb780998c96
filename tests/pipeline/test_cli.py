import pytest
import typer

from pipeline import cli
from pipeline.errors import PipelineError


def outcome(monkeypatch, capsys, error, *arguments):
    def main(verbose: cli.Verbose = False) -> None:
        """Do it."""
        cli.set_output(verbose, quiet=False)
        raise error

    monkeypatch.setattr("sys.argv", ["x", *arguments])
    with pytest.raises(SystemExit) as end:
        cli.run(main)
    cli.set_output(False, False)
    return end.value.code, capsys.readouterr().err


def test_a_users_mistake_is_one_line_and_exit_code_1(monkeypatch, capsys):
    code, err = outcome(monkeypatch, capsys, PipelineError("a.mat is missing. Get it"))
    assert (code, err) == (1, "error: a.mat is missing. Get it\n")


def test_verbose_adds_the_traceback(monkeypatch, capsys):
    code, err = outcome(monkeypatch, capsys, PipelineError("a.mat is missing"), "-v")
    assert code == 1
    assert "Traceback" in err


def test_ctrl_c_says_that_the_same_command_continues(monkeypatch, capsys):
    code, err = outcome(monkeypatch, capsys, KeyboardInterrupt())
    assert code == 130
    assert "continues" in err


def test_a_bug_keeps_its_traceback(monkeypatch, capsys):
    def main() -> None:
        """Do it."""
        raise ZeroDivisionError

    monkeypatch.setattr("sys.argv", ["x"])
    with pytest.raises(ZeroDivisionError):
        cli.run(main)


def test_exit_codes_of_commands_pass_through(monkeypatch):
    def main() -> None:
        """Do it."""
        raise typer.Exit(3)

    monkeypatch.setattr("sys.argv", ["x"])
    with pytest.raises(SystemExit) as end:
        cli.run(main)
    assert end.value.code == 3
