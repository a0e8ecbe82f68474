"""Tables of counters that failed: refused, or with --keep-gaps kept as NaN, which `sample --known` fills."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import gentraffic
from gentraffic.cli.main import run
from gentraffic.errors import BadInput, WrongUse

HEAD = "cell,time,lon,lat,traffic\n"


def table(folder: Path, *, drop: tuple[int, ...] = (), values: dict[int, str] | None = None) -> Path:
    """Cells a and b, six hours each: 10, 11, ... 15 and 20, ... 25; rows by number, a's first."""
    rows = [(cell, hour, 10 * (k + 1) + hour) for k, cell in enumerate("ab") for hour in range(6)]
    text = HEAD
    for number, (cell, hour, value) in enumerate(rows):
        if number not in drop:
            told = (values or {}).get(number, str(value))
            text += f"{cell},2026-01-05T{hour:02d}:00Z,{7.42 + 0.01 * (cell == 'b'):.2f},43.73,{told}\n"
    path = folder / "t.csv"
    path.write_text(text)
    return path


def test_without_the_option_gaps_are_refused_and_it_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"cell a has no value at .* keep them as gaps with keep_gaps"):
        gentraffic.import_table(table(tmp_path, drop=(2,)), timezone="Europe/Monaco")
    with pytest.raises(BadInput, match=r"traffic = nan; .* or keep them as gaps with keep_gaps"):
        gentraffic.import_table(table(tmp_path, values={2: ""}), timezone="Europe/Monaco")


@pytest.mark.parametrize("told", ["", "NaN", "n/a", "-", "null"])
def test_absent_rows_and_empty_values_are_nan_and_all_others_stay(told: str, tmp_path: Path) -> None:
    path = table(tmp_path, drop=(1, 6, 7), values={4: told})
    ds = gentraffic.import_table(path, timezone="Europe/Monaco", unit="GB", keep_gaps=True, out=tmp_path / "t.nc")
    nan = np.nan
    np.testing.assert_array_equal(ds["traffic"].values, [[10, nan, 12, 13, nan, 15], [nan, nan, 22, 23, 24, 25]])
    assert ds["cell_id"].values.tolist() == ["a", "b"]
    np.testing.assert_allclose(ds["lon"].values, [7.42, 7.43])
    assert "4 values are missing and kept as gaps" in ds.attrs["warnings"]
    drawn = gentraffic.sample(known=tmp_path / "t.nc")
    there = ~np.isnan(ds["traffic"].values)
    np.testing.assert_array_equal(drawn["traffic"].values[there], ds["traffic"].values[there])
    assert np.isfinite(drawn["traffic"].values).all()


def test_what_is_no_gap_is_still_an_error(tmp_path: Path) -> None:
    for told in ("-3", "many", "inf"):
        with pytest.raises(BadInput):
            gentraffic.import_table(table(tmp_path, values={3: told}), timezone="Europe/Monaco", keep_gaps=True)
    with pytest.raises(BadInput, match="holds nothing but NaN"):
        gentraffic.import_table(
            table(tmp_path, values=dict.fromkeys(range(12), "")), timezone="Europe/Monaco", keep_gaps=True
        )
    with pytest.raises(WrongUse, match=r"cannot hold gaps, give a \.nc or \.zarr"):
        gentraffic.import_table(table(tmp_path), timezone="Europe/Monaco", keep_gaps=True, out=tmp_path / "t.csv.gz")


def test_a_whole_table_is_the_same_with_the_option(tmp_path: Path) -> None:
    path = table(tmp_path)
    one, two = (gentraffic.import_table(path, timezone="Europe/Monaco", keep_gaps=gaps) for gaps in (False, True))
    assert one.identical(two)


def test_the_command_takes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = table(tmp_path, drop=(2,)), tmp_path / "t.nc"
    words = ["import", "table", str(path), "--timezone", "Europe/Monaco", "-o", str(out)]
    assert run(words) == 5
    assert "--keep-gaps" in capsys.readouterr().err
    assert run([*words, "--keep-gaps"]) == 0
    assert "1 value is missing" in capsys.readouterr().err
