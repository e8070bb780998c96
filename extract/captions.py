"""Read sentences about tracklets, for systems that learn from words.

Run one dataset:   python -m extract.captions --dataset walkers

They are written elsewhere, by people or by a model that describes pictures, and lie in the
dataset's folder, in one of

    captions.jsonl      a line each: {"tracklet": .., "text": .., "source": .., "embedding": [..]}
    captions.parquet    a row each, with the same columns
    frames.csv          of the format `folder`: the column `caption`, of a tracklet's first frame

`source` says who wrote it and `embedding` what a text encoder made of it, all of one length; both
may be left out. A tracklet may have any number of them, and a dataset may have none at all.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline import console, paths, schema
from pipeline.code.fingerprint import fingerprint, is_done, note_done
from pipeline.code.hashes import digest
from pipeline.errors import PipelineError
from pipeline.files import checked, texts
from pipeline.stage import Stage, run_stage

NAMES = ("captions.jsonl", "captions.parquet")
Row = dict[str, Any]


def captions(stage: Stage) -> "Reading":
    """Read the sentences about a dataset's tracklets; output in data/captions/.

    Example: python -m extract.captions --dataset walkers
    """
    return Reading(stage)


class Reading:
    """One run of the stage."""

    then = "pose2d"

    def __init__(self, stage: Stage) -> None:
        """Look whether there are any."""
        self._stage, self._root = stage, paths.dataset_root(stage.dataset)
        self._index = stage.read(paths.index_file(stage.dataset))
        names = (*NAMES, "frames.csv") if stage.on_disk.format == "folder" else NAMES
        self._file = next((f for name in names if (f := self._root / name).is_file()), None)
        self.output = stage.out(paths.captions_file(stage.dataset))
        self._made_of = fingerprint(
            self._index,
            *([self._file] if self._file else []),
            code=digest(stage.name, stage.key, stage.params),
            limit=stage.limit,
        )

    def is_done(self) -> bool:
        """Return whether the table is there."""
        return is_done(self._made_of, self.output)

    def plan(self) -> None:
        """Print what would be read."""
        console.say(f"would read {self._file}" if self._file else f"{self._root} has no captions")

    def make(self) -> str:
        """Read them all and write the table, in the order of the index.

        Raises:
            PipelineError: If the file is damaged, or speaks of no tracklet of the dataset.
        """
        rebuild = self._stage.rebuild("index")
        index = checked.read_index(self._index, rebuild, ["tracklet", "frames"]).to_pylist()
        index = index[: self._stage.limit or None]
        order = {row["tracklet"]: place for place, row in enumerate(index)}
        rows = list(self._read(index))
        known = sorted(
            (row for row in rows if row["tracklet"] in order),
            key=lambda row: order[row["tracklet"]],
        )
        if rows and not known and not self._stage.limit:
            raise PipelineError(
                f"{self._file} speaks of {rows[0]['tracklet']} and others, none of which is a "
                f"tracklet of {self._stage.dataset}. Name tracklets as {self._index} does"
            )
        write(self.output, known, self._stage.dataset)
        note_done(self._made_of, self.output)
        described = len({row["tracklet"] for row in known})
        left = len(rows) - len(known)
        return f"{len(known):,} sentences about {described:,} of {len(index):,} tracklets" + (
            f", {left:,} about others left out" if left else ""
        )

    def _read(self, index: list[Row]) -> Iterator[Row]:
        if self._file is None:
            return iter(())
        if self._file.suffix == ".csv":
            return _of_csv(self._file, index)
        rows = _lines(self._file) if self._file.suffix == ".jsonl" else _rows(self._file)
        return _judged(rows, self._file)


def write(path: Path, rows: list[Row], dataset: str) -> None:
    """Write a table of sentences."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    described = schema.with_metadata(schema.CAPTIONS, dataset=dataset)
    with paths.write_atomic(path) as temporary:
        pq.write_table(pa.Table.from_pylist(rows, described), temporary, compression="zstd")


def write_none(path: Path, dataset: str) -> None:
    """Write the table of a dataset that has no sentences."""
    write(path, [], dataset)


def _lines(file: Path) -> Iterator[tuple[str, Row]]:
    """Yield the objects of a file of JSON lines, each with where it stands."""
    for number, line in enumerate(texts.lines(file, "Write it again"), 1):
        if not line.strip():
            continue
        where = f"{file}, line {number}"
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            raise PipelineError(f"{where}: this is no JSON. Write one object a line") from None
        if not isinstance(found, dict):
            raise PipelineError(f"{where}: this is no object. Write one object a line")
        yield where, found


def _rows(file: Path) -> Iterator[tuple[str, Row]]:
    """Yield the rows of a Parquet file, each with where it stands."""
    from pipeline.files import tables

    there = tables.read_schema(file, "Write it again").names
    columns = [name for name in schema.CAPTIONS.names if name in there]
    for number, row in enumerate(tables.read(file, "Write it again", columns).to_pylist(), 1):
        yield f"{file}, row {number}", row


def _judged(rows: Iterator[tuple[str, Row]], file: Path) -> Iterator[Row]:
    """Yield rows with the columns of `pipeline.schema.CAPTIONS`.

    Raises:
        PipelineError: If one has no tracklet or text, or an embedding unlike the others.
    """
    length: int | None = None
    for where, row in rows:
        for name in ("tracklet", "text"):
            if not isinstance(row.get(name), str) or not row[name].strip():
                raise PipelineError(f"{where} has no {name}. Give each a tracklet and a text")
        source = row.get("source") or file.stem
        embedding = row.get("embedding")
        if embedding is not None:
            _check_embedding(embedding, length, where)
            length = len(embedding)
        yield {
            "tracklet": row["tracklet"],
            "source": str(source),
            "text": row["text"].strip(),
            "embedding": embedding,
        }


def _check_embedding(embedding: Any, length: int | None, where: str) -> None:
    import math

    is_list = isinstance(embedding, list) and len(embedding) > 0
    if not is_list or not all(
        isinstance(x, int | float) and not isinstance(x, bool) and math.isfinite(x)
        for x in embedding
    ):
        raise PipelineError(f"{where}: the embedding is no list of numbers. Mend or leave it out")
    if length is not None and len(embedding) != length:
        raise PipelineError(
            f"{where}: an embedding of {len(embedding)} numbers, those before have {length}. "
            "Make all with one text encoder"
        )


def _of_csv(file: Path, index: list[Row]) -> Iterator[Row]:
    """Yield what a table of frames says of each tracklet's first frame."""
    first = {row["frames"][0]: row["tracklet"] for row in index if row["frames"]}
    for _, row in texts.read_csv(file, ("path",), "Mend the table"):
        text = (row.get("caption") or "").strip()
        tracklet = first.get(row["path"])
        if text and tracklet is not None:
            yield {"tracklet": tracklet, "source": file.name, "text": text, "embedding": None}


if __name__ == "__main__":
    run_stage("captions", captions)
