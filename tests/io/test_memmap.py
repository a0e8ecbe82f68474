"""Arrays in files: rows written in any order are what numpy reads, and what is read can be given back."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import numpy as np
import pytest

from gentraffic.io.memmap import release_pages, rows_of_file


def test_rows_written_in_any_order_are_read_by_numpy(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    wanted = rng.normal(size=(1000, 7)).astype(np.float32)
    path = tmp_path / "rows.npy"
    with rows_of_file(path, (1000, 7)) as rows:
        for part in np.array_split(rng.permutation(900), 9):  # in no order: no two follow each other
            rows[part] = wanted[part]
        rows[np.arange(905, 950)] = wanted[905:950].astype(np.float64)  # a run
        rows[np.array([900, 901, 903, 999])] = wanted[[900, 901, 903, 999]]
    wanted[[902, 904, *range(950, 999)]] = 0  # never written
    np.testing.assert_array_equal(np.load(path), wanted)


@pytest.mark.skipif(sys.platform != "linux", reason="madvise and /proc are Linux's")
def test_what_is_let_go_leaves_the_memory_and_can_be_read_again(tmp_path: Path) -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

    np.save(tmp_path / "big.npy", np.arange(4_000_000, dtype=np.float64))
    mapped = np.load(tmp_path / "big.npy", "r")
    before = resident()
    assert mapped[::512].sum() == 512 * (7813 * 7812 // 2)
    read = resident() - before
    release_pages(mapped, np.zeros(3))  # what lies in no file stays as it is
    assert read > 30e6
    assert resident() - before < 2e6
    assert mapped[-1] == 3_999_999
