"""The picture: its lines, heat map and bars hold the dataset's numbers, and it is a PNG that changes with them."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from traffic_examples import context, traffic

from gentraffic.dataset.schema import local_time
from gentraffic.errors import BadInput, WrongUse
from gentraffic.reports import plot
from gentraffic.reports.map_layers import plain_number, round_ticks


def test_lines_and_bars_hold_the_numbers() -> None:
    ds = traffic(context(n=12), units="MB")
    real = ds["internet"].values
    total, quiet, median, busiest, heat, levels, *_ = plot.draw(ds).axes
    np.testing.assert_allclose(total.lines[0].get_ydata(), real.sum(axis=0), rtol=1e-5)
    np.testing.assert_array_equal(np.asarray(total.lines[0].get_xdata(), "datetime64[ns]"), ds["time"].values)
    mean = real.mean(axis=1)
    order = np.argsort(mean[mean > 0])
    live = np.flatnonzero(mean > 0)
    for axes, word, rank in ((quiet, "Quiet", 14), (median, "Median", 71), (busiest, "Busiest", 142)):
        cell = live[order[rank]]
        np.testing.assert_allclose(axes.lines[0].get_ydata(), real[cell], rtol=1e-6)
        assert axes.get_title(loc="left") == f"{word} cell: {ds['cell_id'].values[cell]}"
    np.testing.assert_allclose(heat.images[0].get_array().ravel(), real.sum(axis=0), rtol=1e-5)  # two whole days
    assert sum(bar.get_height() for bar in levels.patches) == 143
    assert levels.get_title(loc="right") == "1 have none"
    assert (total.get_ylabel(), levels.get_xlabel(), levels.get_ylabel()) == ("MB", "MB", "cells")


def test_members_are_a_mean_and_a_band() -> None:
    ds = traffic(context("stations"), members=12)
    real = ds["internet"].values
    total, *_ = plot.draw(ds).axes
    np.testing.assert_allclose(total.lines[0].get_ydata(), real.sum(axis=1).mean(axis=0), rtol=1e-5)
    band = total.collections[0].get_paths()[0].vertices[:, 1]
    low, high = np.quantile(real.sum(axis=1), (0.05, 0.95), axis=0)
    assert band.max() == pytest.approx(high.max(), rel=1e-5)
    assert band.min() == pytest.approx(low.min(), rel=1e-5)


def test_hours_of_days_with_23_and_25_hours() -> None:
    for start, day, gap in (("2024-03-29T23:00", date(2024, 3, 31), 2), ("2024-10-25T22:00", date(2024, 10, 27), None)):
        times = local_time(traffic(days=3, start=start))
        counted = np.arange(len(times), dtype=float)
        dates, table = plot.hour_by_day(times, counted)
        row = dates.index(day)
        assert dates[0].day == day.day - 1
        if gap is not None:  # the hour that the clocks skip is not there, and nothing slides into its place
            assert np.isnan(table[row, gap])
            assert (table[row, 1], table[row, 3]) == (25.0, 26.0)
        else:  # the hour that comes twice is the mean of the two
            assert (table[row, 1], table[row, 2], table[row, 3]) == (25.0, 26.5, 28.0)
        assert np.nansum(~np.isnan(table)) == len(times) - (gap is None)


def test_sub_hourly_steps_are_averaged_within_the_hour() -> None:
    ds = traffic(minutes=15, days=1)
    total = ds["internet"].values.sum(axis=0, dtype=float)
    _, table = plot.hour_by_day(local_time(ds), total)
    np.testing.assert_allclose(table[0], total.reshape(24, 4).mean(axis=1))


def test_typical_cells_skip_the_dead() -> None:
    level = np.array([0.0, 5.0, 1.0, 0.0, 3.0, 2.0, 4.0])
    assert plot.typical_cells(level) == {"quiet": 2, "median": 4, "busiest": 1}
    assert plot.typical_cells(np.zeros(3)) == {"quiet": 0, "median": 1, "busiest": 2}


def test_the_png_is_not_blank_and_changes_with_the_data(tmp_path: Path) -> None:
    for seed in (1, 2):
        plot.write_plot(traffic(context(n=12), days=21, seed=seed), tmp_path / f"{seed}.png")
    plot.write_plot(traffic(context(n=12), days=21, seed=1), tmp_path / "again.png")
    one, two = (imread(tmp_path / f"{seed}.png")[..., :3] for seed in (1, 2))
    assert one.shape == (1170, 1560, 3)
    parts = {
        "total": one[150:420],
        "cells": one[460:700],
        "heat map": one[780:1060, :900],
        "levels": one[780:1060, 1100:],
    }
    for name, part in parts.items():
        assert (part.min(axis=-1) < 0.8).mean() > 0.005, name  # ink
        assert np.ptp(part.reshape(-1, 3), axis=0).max() > 0.5, name
    assert (np.abs(one - two).max(axis=-1) > 0.1).mean() > 0.02
    assert (tmp_path / "1.png").read_bytes() == (tmp_path / "again.png").read_bytes()


def test_odd_data_and_names_are_drawn(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    ds = traffic(context("stations"))
    names = np.array([f"$x_{i}$ 北京" * 4 for i in range(36)], dtype=object)
    names[:] = [f"{name}{i}" for i, name in enumerate(names)]
    ds = ds.assign_coords(cell_id=("cell", names, ds["cell_id"].attrs)).assign_attrs(
        title="$\\frac{1}$ and $", place="北京"
    )
    ds["internet"].attrs["units"] = "$ / MB"
    plot.write_plot(ds, tmp_path / "odd.png")
    plot.write_plot(traffic(context(n=1)).isel(time=slice(1)), tmp_path / "one.png")
    zero = traffic()
    zero["internet"].values[:] = 0
    plot.write_plot(zero, tmp_path / "zero.png")
    assert not [str(warning.message) for warning in recwarn]


def test_wrong_uses_are_named(tmp_path: Path) -> None:
    with pytest.raises(WrongUse, match=r"unknown suffix '\.pdf'; .* one of \.png"):
        plot.write_plot(traffic(), tmp_path / "plot.pdf")
    with pytest.raises(WrongUse, match="no service 'sms' here"):
        plot.write_plot(traffic(), tmp_path / "plot.png", service="sms")
    with pytest.raises(BadInput, match="no folder"):
        plot.write_plot(traffic(), tmp_path / "nowhere" / "plot.png")
    assert list(tmp_path.iterdir()) == []


def test_small_amounts_are_drawn_in_a_smaller_unit() -> None:
    ds = traffic(days=7, units="TB")
    ds["internet"] = (ds.internet * np.float32(1e-4)).assign_attrs(ds.internet.attrs)
    figure = plot.draw(ds)
    assert figure.axes[0].get_ylabel() == "GB"
    line = figure.axes[0].lines[0].get_ydata()
    np.testing.assert_allclose(line, ds.internet.values.sum(axis=0, dtype=float) * 1e3, rtol=1e-6)
    assert ds.internet.attrs["units"] == "TB"


@pytest.mark.parametrize(("low", "high"), [(0.12, 7.9), (0.9, 1.1), (98.0, 160.0), (0.02, 5000.0)])
def test_a_logarithmic_axis_has_several_round_numbers(low: float, high: float) -> None:
    ticks = round_ticks(low, high)
    assert len(ticks) >= 2
    assert all(low <= tick <= high for tick in ticks)
    assert "e" not in "".join(map(plain_number, ticks))


def test_numbers_of_a_legend_are_plain() -> None:
    assert [plain_number(v) for v in (-158.0, -7.9, 0.0, 0.38, 99.6, 6234.0, 2.4e9)] == [
        "-158", "-7.9", "0", "0.38", "99.6", "6,230", "2.4e+09"
    ]  # fmt: skip
