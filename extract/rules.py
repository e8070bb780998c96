"""How a dataset is scored, as its index says: the stages after it know no formats."""

import json
from pathlib import Path

from pipeline import schema
from pipeline.errors import PipelineError


def rules_of(index: Path) -> dict[str, bool]:
    """Return how the authors of an indexed dataset score.

    Raises:
        PipelineError: If it is not an index, or of an earlier version.
    """
    found = schema.metadata(schema.check(index, schema.INDEX, f"dvc repro index@{index.stem}"))
    if "rules" not in found:
        raise PipelineError(
            f"{index} does not say how its dataset is scored. Run: dvc repro index@{index.stem}"
        )
    return json.loads(found["rules"])
