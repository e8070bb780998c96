"""MATLAB files of every version are the same table."""

import h5py
import numpy as np
import pytest
from scipy.io import savemat

from pipeline.errors import PipelineError
from pipeline.files import arrays

TABLE = np.array([[1, 16, 1, 1], [17, 40, 1, 2], [41, 52, 3, 1]])


def write(file, version, **tables):
    if version != "7.3":
        savemat(file, tables, format=version)
        return
    # MATLAB puts 512 bytes of its own before, and stores the columns first, as doubles.
    with h5py.File(file, "w", userblock_size=512) as out:
        for name, table in tables.items():
            out[name] = table.T.astype(float)


@pytest.mark.parametrize("version", ["4", "5", "7.3"])
def test_every_version_is_read_the_same(tmp_path, version):
    write(tmp_path / "a.mat", version, track_info=TABLE)
    found = arrays.read_mat(tmp_path / "a.mat", "track_info", "")
    np.testing.assert_array_equal(arrays.whole(tmp_path / "a.mat", found, ""), TABLE)


def test_an_array_of_another_name_is_taken_where_it_is_alone_or_known(tmp_path):
    write(tmp_path / "a.mat", "5", x=TABLE)
    np.testing.assert_array_equal(arrays.read_mat(tmp_path / "a.mat", "track_info", ""), TABLE)
    write(tmp_path / "b.mat", "5", tracks=TABLE, more=TABLE + 1)
    found = arrays.read_mat(tmp_path / "b.mat", "track_info", "", ("tracks",))
    np.testing.assert_array_equal(found, TABLE)
    with pytest.raises(
        PipelineError, match=r"b.mat has no array track_info. It holds more, tracks"
    ):
        arrays.read_mat(tmp_path / "b.mat", "track_info", "")


@pytest.mark.parametrize("odd", [7.5, np.nan, np.inf, 1e300])
def test_a_number_is_never_cut(tmp_path, odd):
    with pytest.raises(PipelineError, match=r"a.mat holds numbers that are no whole ones"):
        arrays.whole(tmp_path / "a.mat", np.append(TABLE, odd), "")


def test_an_array_that_would_run_code_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(PipelineError, match=r"a.npy is not a readable .npy array"):
        arrays.read_npy(tmp_path / "a.npy", "")
