"""What an experiment made is found again, whatever lies in its clone by now."""

from pathlib import Path

import pytest

from bench.clones import Clone, call


@pytest.mark.slow
def test_outputs_are_those_of_the_experiment_and_not_those_that_lie_there(tmp_path):
    folder, file = tmp_path / "clone", Path("data/features.txt")
    (folder / "data").mkdir(parents=True)
    for command in ("git init -q", "git config user.name n", "git config user.email e@example.org"):
        call(command.split(), folder)
    call(["dvc", "init", "--quiet"], folder)
    clone = object.__new__(Clone)
    clone.folder, clone.head = folder, "0" * 40
    for name in ("one", "two"):
        (folder / file).write_text(name)
        call(["dvc", "add", "--quiet", str(file)], folder)
        call(["git", "add", "."], folder)
        call(["git", "commit", "-q", "-m", name], folder)
        call(["git", "update-ref", clone._ref(name), "HEAD"], folder)
    copies = [clone.output(name, file) for name in ("one", "two", "one")]
    assert [copy.read_text() for copy in copies] == ["one", "two", "one"]
    assert (folder / file).read_text() == "two"
