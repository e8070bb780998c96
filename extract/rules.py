"""How a dataset is scored, as its index says: the stages after it know no formats."""

import json
from pathlib import Path

from pipeline import schema
from pipeline.errors import PipelineError


def rules_of(index: Path, rebuild: str) -> dict[str, bool]:
    """Return how the authors of an indexed dataset score.

    Args:
        index: The index.
        rebuild: The command that makes it.

    Raises:
        PipelineError: If it is not an index, or of an earlier version.
    """
    found = schema.metadata(schema.check(index, schema.INDEX, rebuild))
    if "rules" not in found:
        raise PipelineError(f"{index} does not say how its dataset is scored. Run: {rebuild}")
    return json.loads(found["rules"])
