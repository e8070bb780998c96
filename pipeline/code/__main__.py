"""Hash the code behind every stage, for DVC.

Run before all other stages:   python -m pipeline.code
"""

from pathlib import Path

from pipeline import paths
from pipeline.cli import run
from pipeline.code.hashes import table
from pipeline.params.config import load

FILE = Path("code.yaml")


def main() -> None:
    """Write code.yaml: a hash of the code behind every stage, as the enabled runs use it."""
    import yaml

    with paths.write_atomic(FILE) as temporary:
        temporary.write_text(yaml.safe_dump(table(load())))


if __name__ == "__main__":
    run(main)
