"""How a dataset is scored, as its index says: the stages after it know no formats."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from pipeline import schema
from pipeline.errors import PipelineError

RULES = ("gallery_includes_queries", "same_camera_counts")


@dataclass(frozen=True)
class NamedSearch:
    """One search of a protocol: whose queries, in what gallery, by which rules.

    The one without a name is the headline; where there is none, that is all queries in all of the
    gallery. Filters say what a column of `pipeline.schema.VIEW` must hold.

    Attributes:
        name: Under which key `scores.json` has it; a dot puts it into a mapping.
        query: Filter of the queries, as `{"spectrum": "infrared"}`.
        gallery: Filter of the gallery.
        clothes: `same` leaves out the query's person in other clothes, `changing` in the same.
        is_reversed: Whether queries and gallery are exchanged, before the filters.
        same_camera_counts: Whether the query's own camera is ranked; None as the dataset says.
    """

    name: str = ""
    query: Mapping[str, str] = field(default_factory=dict)
    gallery: Mapping[str, str] = field(default_factory=dict)
    clothes: Literal["general", "same", "changing"] = "general"
    is_reversed: bool = False
    same_camera_counts: bool | None = None


# All queries in all of the gallery.
ALL = NamedSearch()
# Of every dataset in which clothes are known.
BY_CLOTHES = (
    NamedSearch("clothes.same", clothes="same"),
    NamedSearch("clothes.changing", clothes="changing"),
)
# Of every dataset seen in visible and in infrared light that has no such search of its own.
BY_SPECTRUM = (
    NamedSearch("spectrum.I2V", {"spectrum": "infrared"}, {"spectrum": "visible"}),
    NamedSearch("spectrum.V2I", {"spectrum": "visible"}, {"spectrum": "infrared"}),
)
REVERSED = NamedSearch("reversed", is_reversed=True)


def written(rules: Mapping[str, Any]) -> str:
    """Return rules as text for an index to carry."""
    searches = [asdict(one) for one in rules["searches"]]
    return json.dumps(dict(rules) | {"searches": searches})


def rules_of(index: Path, rebuild: str) -> dict[str, Any]:
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
        searches = tuple(NamedSearch(**one) for one in rules.pop("searches", []))
    except (ValueError, TypeError, AttributeError):
        rules = None
    if not isinstance(rules, dict) or any(not isinstance(rules.get(name), bool) for name in RULES):
        raise PipelineError(f"{index} does not say how its dataset is scored. Run: {rebuild}")
    # An index that knew no searches said whether the one that is reversed belongs to its protocol.
    is_both = rules.pop("both_ways", False)
    return rules | {"searches": searches or BY_CLOTHES + ((REVERSED,) if is_both else ())}
