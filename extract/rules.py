"""How a dataset is scored, as its index says: the stages after it know no formats."""

import json
from pathlib import Path

from extract.tracklets import RULES
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
    try:
        rules = json.loads(found.get("rules", "null"))
    except ValueError:
        rules = None
    if not isinstance(rules, dict) or any(not isinstance(rules.get(name), bool) for name in RULES):
        raise PipelineError(f"{index} does not say how its dataset is scored. Run: {rebuild}")
    return rules
