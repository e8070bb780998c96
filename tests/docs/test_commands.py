"""Every command in README.md and docs/ is run by a test, or says what it needs."""

from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.docs.pages import PAGES, commands

_REPRO, _EXAMPLES = "tests/test_repro.py", "tests/docs/test_examples.py"
# The tests that type a page's commands; they read them from the page.
RUN_BY = {
    "README.md": {
        "git clone": (_REPRO, "project"),
        "make repro": (_REPRO, "project"),
        "make test": ("Makefile", "test: .venv/ready"),
        "python -m pipeline.params --enable": (
            "tests/pipeline/params/test_enable.py",
            "test_the_command_of_the_readme_enables_mars",
        ),
        "source .venv/bin/activate": (
            _REPRO,
            "test_the_experiments_of_the_readme_run_and_are_compared",
        ),
        "dvc exp": (_REPRO, "test_the_experiments_of_the_readme_run_and_are_compared"),
        "python -m train.stage2": (
            _REPRO,
            "test_the_experiments_of_the_readme_run_and_are_compared",
        ),
    },
    "CONTRIBUTING.md": {
        "make test": ("Makefile", "test: .venv/ready"),
        "make test-all": ("Makefile", "test-all: .venv/ready"),
        "make types": ("Makefile", "types: .venv/ready"),
    },
    "docs/adding_a_dataset.md": {
        "python -m extract.index": (_EXAMPLES, "test_the_folder_layout_of_the_page_is_read"),
    },
    "docs/adding_an_encoder.md": {
        "python -m train.stage1": (_EXAMPLES, "test_another_encoder_is_tried_as_the_page_says"),
    },
    "docs/cluster.md": {
        ".venv/bin/python -m": (
            "tests/docs/test_cluster_page.py",
            "test_two_nodes_started_by_hand_give_what_one_machine_gives",
        ),
    },
    "docs/own_videos.md": {
        start: (_REPRO, "test_the_page_about_own_videos_leads_to_a_ranking")
        for start in ("python -m", "dvc repro")
    },
    "docs/runs.md": {
        start: (_REPRO, "test_the_commands_of_the_page_about_runs_work")
        for start in ("python -m", "sed", "dvc repro", "dvc metrics", "dvc plots", "dvc exp", "rm")
    },
    "docs/taking_a_model_away.md": {
        start: (_EXAMPLES, "test_a_model_is_taken_away_as_the_page_says")
        for start in ("python -m evaluate.publish", "python -m shards.convert")
    },
    "docs/reading_shards.md": {
        "python -m shards": (_EXAMPLES, "test_commands_about_shards_work"),
    },
}


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_a_command_is_run_by_a_test_or_says_what_it_needs(page: Path):
    for line in [command.line for command in commands(page) if not command.needs]:
        known = RUN_BY.get(str(page), {})
        found = [where for start, where in known.items() if line.startswith(start)]
        assert found, (
            f"{page}: no test runs {line!r}. Run it in one and name that in RUN_BY, or write "
            "'# needs ...' behind it if it needs what is not here"
        )


def test_the_tests_that_run_commands_exist():
    for page, known in RUN_BY.items():
        lines = [command.line for command in commands(Path(page)) if not command.needs]
        for start, (file, name) in known.items():
            assert any(line.startswith(start) for line in lines), f"{page} has no {start!r}"
            text = (ROOT / file).read_text()
            assert f"def {name}(" in text or f"\n{name}" in text, f"{file} has no {name}"


def test_marks_and_comments_are_told_from_commands(tmp_path: Path):
    (tmp_path / "page.md").write_text(
        "Type `this`:\n\n```bash\nmake a   # why\ndvc b \\\n    c  # needs MARS\n```\n\n"
        "1. In a list:\n\n   ```bash\n   # needs a GPU\n   make d\n   make e\n   ```\n\n"
        "    runtime:\n      x: 1\n\n    dvc f\n\n```python\nmake = 1\n```\n"
    )
    assert [tuple(one) for one in commands(tmp_path / "page.md")] == [
        ("make a", ""),
        ("dvc b c", "MARS"),
        ("make d", "a GPU"),
        ("make e", "a GPU"),
        ("dvc f", ""),
    ]
