import errno
import os

import pytest
import typer
from torch.utils.data import DataLoader, Dataset

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


def test_a_bug_is_one_line_too_and_its_traceback_is_kept(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    code, err = outcome(monkeypatch, capsys, ZeroDivisionError("division by zero"))
    assert code == 1
    assert err.startswith("error: ZeroDivisionError: division by zero. ")
    assert err.count("\n") == 1
    kept = (tmp_path / "work/error.txt").read_text()
    assert "Traceback" in kept
    assert "raise error" in kept
    assert "Traceback" in outcome(monkeypatch, capsys, ZeroDivisionError(), "-v")[1]


@pytest.mark.parametrize("kind", ["ENOSPC", "EROFS", "EACCES", "EDQUOT", "EMFILE", "EIO"])
def test_a_disk_that_takes_no_more_is_one_line_with_the_cure(monkeypatch, capsys, kind):
    number = getattr(errno, kind)
    error = OSError(number, os.strerror(number), "data/x.parquet")
    code, err = outcome(monkeypatch, capsys, error)
    assert code == 1
    assert err.count("\n") == 1
    assert err.startswith(f"error: data/x.parquet: {os.strerror(number)}. ")


def test_an_error_of_a_worker_is_its_last_line(monkeypatch, capsys):
    class Broken(Dataset):
        def __len__(self):
            return 1

        def __getitem__(self, index):
            raise PipelineError("a.parquet is damaged. Run: dvc repro")

    with pytest.raises(PipelineError) as raised:
        list(DataLoader(Broken(), num_workers=1))
    code, err = outcome(monkeypatch, capsys, raised.value)
    assert (code, err) == (1, "error: a.parquet is damaged. Run: dvc repro\n")


def test_exit_codes_of_commands_pass_through(monkeypatch):
    def main() -> None:
        """Do it."""
        raise typer.Exit(3)

    monkeypatch.setattr("sys.argv", ["x"])
    with pytest.raises(SystemExit) as end:
        cli.run(main)
    assert end.value.code == 3
