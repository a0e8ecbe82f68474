"""Arrays in files: they hold what is written to them, and the memory of what is read can be given back."""

from __future__ import annotations

import errno
import os
import resource
import sys
from pathlib import Path

import numpy as np
import pytest

from gentraffic.dataset.memmap import Disk
from gentraffic.dataset.schema import BLOCK, blocks, release_pages, rising
from gentraffic.errors import BadInput


@pytest.mark.parametrize(("named", "allocate"), [(True, True), (False, True), (True, False), (False, False)])
def test_an_array_in_a_file_is_as_one_in_memory(
    tmp_path: Path, named: bool, allocate: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not allocate:  # as on systems that cannot
        monkeypatch.delattr(os, "posix_fallocate", raising=False)
        monkeypatch.setattr("gentraffic.dataset.memmap.ZEROS", 1000)
    rng = np.random.default_rng(0)
    wanted = rng.normal(size=(1000, 7)).astype(np.float32)
    held = Disk(tmp_path, named).zeros("rows", (1000, 7), np.float32)
    assert (held.shape, held.dtype) == (wanted.shape, wanted.dtype)
    assert not held.any()
    for part in np.array_split(rng.permutation(1000), 9):
        held[part] = wanted[part]
        release_pages(held[3:], None)  # of a view, too: what was written stays
    np.testing.assert_array_equal(held, wanted)
    assert [path.name for path in tmp_path.iterdir()] == (["rows.npy"] if named else [])
    if named:
        np.testing.assert_array_equal(np.load(tmp_path / "rows.npy"), wanted)
    assert Disk(tmp_path, named).zeros("none", (0, 7), np.float32).shape == (0, 7)


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="elsewhere zeros are written")
def test_a_full_disk_is_said_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(BadInput, match=r"no file of 1 MiB can be made there .No space left"):
        Disk(tmp_path).zeros("much", (1 << 17,), np.float64)


def test_blocks_are_all_rows_once_and_rising_sees_across_their_seams() -> None:
    assert [(b.start, b.stop) for b in blocks(10, 4)] == [(0, 4), (4, 8), (8, 10)]
    ids = np.arange(3 * BLOCK)
    assert rising(ids)
    for at in (1, BLOCK, BLOCK + 1, 3 * BLOCK - 1):
        assert not rising(np.insert(ids, at, ids[at - 1]))  # twice
    assert rising(ids[:1])


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
