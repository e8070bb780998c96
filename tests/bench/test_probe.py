"""What a straight line finds, where it is known what there is to find."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench import probe
from bench.probe import told, told_from
from pipeline.errors import PipelineError

PEOPLE, EACH, CHANNELS = 40, 8, 12
PIDS = np.repeat(np.arange(1, PEOPLE + 1), EACH)
SPECTRA = np.where(np.arange(len(PIDS)) % 2, "infrared", "visible")


def drawn(seed: int = 0) -> np.ndarray:
    """Return features of people, which say nothing of spectra."""
    rng = np.random.default_rng(seed)
    people = rng.standard_normal((PEOPLE, CHANNELS))
    return people[PIDS - 1] + 0.3 * rng.standard_normal((len(PIDS), CHANNELS))


def test_what_is_not_there_is_not_told_and_what_is_there_is():
    features = drawn()
    assert told(features, SPECTRA, PIDS) == pytest.approx(0.5, abs=0.08)
    features[:, 3] += 5 * (SPECTRA == "infrared")
    assert told(features, SPECTRA, PIDS) > 0.97


def test_a_shift_is_told_as_often_as_the_best_line_can():
    """Two normal distributions two deviations apart: the best line is right in 84.1 %."""
    features = np.random.default_rng(1).standard_normal((2000, 3))
    pids, spectra = np.arange(2000) % 200, np.where(np.arange(2000) // 200 % 2, "b", "a")
    features[:, 1] += 2 * (spectra == "b")
    assert told(features, spectra, pids) == pytest.approx(0.8413, abs=0.025)


def test_people_do_not_give_their_spectrum_away():
    """Each is seen in one spectrum: who knows the people is right, and says nothing of light."""
    spectra = np.where(np.random.default_rng(2).permutation(PEOPLE) % 2, "a", "b")[PIDS - 1]
    assert told(drawn(), spectra, PIDS) < 0.7


def test_a_rare_spectrum_counts_as_much_as_the_other():
    is_rare = np.arange(len(PIDS)) % EACH == 0
    found = told(drawn(), np.where(is_rare, "infrared", "visible"), PIDS)
    assert found == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("kinds", [["a"], ["a", "b", "c"]])
def test_other_than_two_spectra_are_refused(kinds):
    with pytest.raises(PipelineError, match="each of two spectra; spectra here: a"):
        told(drawn(), np.array(kinds)[np.arange(len(PIDS)) % len(kinds)], PIDS)


def test_one_person_alone_in_a_spectrum_is_refused():
    with pytest.raises(PipelineError, match="people in the rarer: 1"):
        told(drawn(), np.where(PIDS == 1, "a", "b"), PIDS)


def table(path: Path, **features: np.ndarray) -> Path:
    """Write a table as `evaluate.embed` does: half of the tracklets are queries too."""
    names = [f"t{i}" for i in range(len(PIDS))]
    columns = {
        "tracklet": names, "pid": PIDS, "camid": np.arange(len(PIDS)) % 2,
        "split": ["gallery"] * len(PIDS), "spectrum": [*SPECTRA[:-1], None],
    }  # fmt: skip
    for name, values in features.items():
        flat = pa.array(values.astype(np.float32).ravel())
        columns[name] = pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
    gallery = pa.table(columns)
    queries = gallery.slice(0, len(PIDS) // 2)
    queries = queries.set_column(3, "split", pa.array(["query"] * len(queries)))
    pq.write_table(pa.concat_tables([queries, gallery]), path)
    return path


def test_tables_are_probed_feature_by_feature_and_each_tracklet_counts_once(tmp_path, monkeypatch):
    seen = drawn() + 5 * (SPECTRA == "infrared")[:, None]
    files = [table(tmp_path / "a.parquet", feature=drawn())]
    files.append(table(tmp_path / "b.parquet", untrained=seen, random=drawn(1)))
    found = told_from(files)
    assert set(found) == {"feature", "untrained", "random"}
    assert found["untrained"] > 0.97 > 0.6 > found["feature"]
    sizes = []
    monkeypatch.setattr(probe, "told", lambda values, *_: sizes.append(len(values)))
    told_from(files)
    # The last one's spectrum is not known.
    assert sizes == [len(PIDS) - 1] * 3
    sizes.clear()
    monkeypatch.setattr(probe, "LIMIT", 50)
    told_from(files)
    assert sizes == [50] * 3


def test_a_table_without_spectra_is_refused(tmp_path):
    path = table(tmp_path / "a.parquet", feature=drawn())
    plain = pq.read_table(path).drop_columns(["spectrum"])
    pq.write_table(plain, path)
    with pytest.raises(PipelineError, match="spectra here: none"):
        told_from([path])
