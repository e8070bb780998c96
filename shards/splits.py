"""What stands beside shards, so that Hugging Face's `load_dataset` finds all of their splits.

The file is hidden: of others, what reads a folder of Parquet files would ask to be Parquet too.
"""

from pathlib import Path

import yaml

from pipeline import schema
from pipeline.names import listed

SPLITS = ".huggingface.yaml"
_WHY = "# Which files are which split, for load_dataset of the package datasets."


def write_splits(folder: Path) -> None:
    """Name the files of each split in a folder of finished shards."""
    found = {file.name.rpartition("-")[0] for file in listed(folder, "*-*.parquet")}
    splits = [name for name in schema.SPLITS if name in found]
    files = [{"split": name, "path": f"{name}-*.parquet"} for name in splits]
    said = {"configs": [{"config_name": "default", "data_files": files}]}
    text = yaml.safe_dump(said, sort_keys=False)
    (folder / SPLITS).write_text(f"{_WHY}\n{text}", encoding="utf-8")
