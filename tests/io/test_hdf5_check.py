"""gentraffic.io.hdf5_check: a NetCDF file of another program is walked through by a child before it is read."""

from __future__ import annotations

from pathlib import Path

import pytest
from traffic_examples import traffic

from gentraffic.errors import BadInput
from gentraffic.io import files, hdf5_check
from gentraffic.io.files import read_traffic, write_traffic
from gentraffic.io.hdf5_check import check_in_child


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """As another program writes it: without the seal."""
    traffic().to_netcdf(tmp_path / "t.nc", engine="h5netcdf")
    return tmp_path / "t.nc"


def test_a_whole_file_passes_and_so_does_one_that_is_no_hdf5(foreign: Path, tmp_path: Path) -> None:
    check_in_child(foreign)
    (tmp_path / "x.nc").write_bytes(b"no HDF5 at all")
    check_in_child(tmp_path / "x.nc")  # its reader says so


@pytest.mark.parametrize(
    ("child", "says"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", r"HDF5 broke off \(signal 11\)"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGXCPU)", "HDF5 does not come to an end with it"),
        ("import time; time.sleep(20)", "HDF5 does not come to an end with it"),
    ],
)
def test_a_child_that_dies_or_does_not_come_back_refuses_the_file(
    foreign: Path, monkeypatch: pytest.MonkeyPatch, child: str, says: str
) -> None:
    monkeypatch.setattr(hdf5_check, "_CHILD", child)
    monkeypatch.setattr(hdf5_check, "WALL_S", 0.5 if "sleep" in child else 60.0)
    with pytest.raises(BadInput, match=says):
        read_traffic(foreign)


def test_a_file_of_our_own_needs_no_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "check_in_child", None)  # calling it would fail
    write_traffic(traffic(), tmp_path / "t.nc")
    assert read_traffic(tmp_path / "t.nc").identical(traffic())
