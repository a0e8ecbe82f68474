"""The places that come with the package, which are read without the questions that are asked of a stranger's file."""

from __future__ import annotations

from pathlib import Path

import pytest
import xarray as xr

from gentraffic.errors import BadInput, WrongUse
from gentraffic.io.files import read_context, read_own_context, write_context
from gentraffic.places.find import CONTEXTS, bundled_cities, context_file, find_context
from gentraffic.places.query import PlaceQuery


@pytest.mark.parametrize("name", bundled_cities())
def test_bundled_contexts_are_sealed_and_keep_the_schema(name: str) -> None:
    path = CONTEXTS / f"{name}.nc"
    assert b"\ngentraffic sha256 " in path.read_bytes()[-100:]
    xr.testing.assert_identical(read_own_context(path), read_context(path))


def test_an_altered_bundled_context_is_refused(tmp_path: Path) -> None:
    content = bytearray((CONTEXTS / "monaco.nc").read_bytes())
    content[len(content) // 2] ^= 1
    path = tmp_path / "monaco.nc"
    path.write_bytes(content)
    with pytest.raises(BadInput, match="SHA-256"):
        read_own_context(path)


def test_a_context_that_was_cut_by_hand_says_so(tmp_path: Path) -> None:
    whole = read_context(CONTEXTS / "monaco.nc").assign_attrs(cells_fetched=188)
    write_context(whole, tmp_path / "whole.nc")
    write_context(whole.isel(cell=slice(0, 90)), tmp_path / "part.nc")
    assert "warnings" not in find_context(PlaceQuery(context=tmp_path / "whole.nc"), command="").attrs
    line = find_context(PlaceQuery(context=tmp_path / "part.nc"), command="").attrs["warnings"]
    assert "part.nc was cut to 90 of 188 cells: levels near its new edge are off" in line


def test_a_context_is_a_file_or_a_bundled_city_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert context_file("Monaco") == CONTEXTS / "monaco.nc"
    assert context_file(Path("malta")) == CONTEXTS / "malta.nc"
    assert find_context(PlaceQuery(context=Path("monaco")), command="").attrs["place"] == "Monaco"
    assert context_file("own.nc") == Path("own.nc"), "that it is missing says who reads it"
    (tmp_path / "monaco").mkdir()
    assert context_file("monaco") == Path("monaco"), "what stands there is meant"
    with pytest.raises(WrongUse, match=r"no context 'monako': give a file \(\.nc, \.zarr\), or one of .*mean monaco"):
        context_file("monako")
