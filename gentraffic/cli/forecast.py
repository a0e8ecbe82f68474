"""`gentraffic forecast fit|run|score`: train a forecaster, continue a series, and say how good that is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from gentraffic.api.language import speaks_options
from gentraffic.cli.options import (
    AT_LEAST_1,
    COMMON,
    COUNT,
    POSITIVE,
    THREADS,
    command_line,
    progress,
    report,
    with_options,
)

FILE = click.Path(path_type=Path)
MODEL = click.option("--model", type=FILE, required=True, metavar="DIR", help="A folder of `gentraffic forecast fit`.")
DEVICE = click.option("--device", default="cpu", show_default=True, help="cpu or cuda.")
SERVICE = click.option("--service", multiple=True, metavar="NAME", help="The traffic variable; repeat it for several.")


@click.group(short_help="Forecast traffic: fit, run, score.")
def forecast() -> None:
    """Forecasters of measured or synthetic traffic.

    \b
    gentraffic forecast fit lightgbm --traffic measured.nc -o my-forecaster
    gentraffic forecast run --model my-forecaster --history measured.nc --horizon 6 -o next-hour.nc
    gentraffic forecast score --model my-forecaster --traffic measured.nc --horizon 6 --html page.html
    """


@forecast.command(short_help="Train a forecaster on traffic (resumable).")
@click.argument("name")
@click.option("--traffic", type=FILE, multiple=True, required=True, metavar="FILE", help="Traffic; repeat it.")
@SERVICE
@click.option("-o", "--out", type=FILE, required=True, metavar="DIR", help="The folder of the forecaster.")
@click.option("--train", default=0.70, show_default=True, help="Share of the steps that train, from the first on.")
@click.option(
    "--validation", default=0.15, show_default=True, help="Share that follows and chooses the weights; the rest tests."
)
@click.option(
    "--steps", type=AT_LEAST_1, help="Batches, or trees, at most. [default: five epochs, 500 to 20,000; 600 trees]"
)
@click.option("--batch", type=AT_LEAST_1, help="Windows per batch. [default: 128]")
@click.option("--learning-rate", type=POSITIVE, help="Of Adam. [default: 0.001]")
@click.option("--stride", type=AT_LEAST_1, help="Steps between training windows of a cell. [default: 6]")
@click.option("--backend", default="fast", show_default=True, help="Of the sLSTM: fast (ours), vanilla, cuda (xlstm).")
@DEVICE
@click.option("--seed", type=COUNT, default=0, show_default=True)
@THREADS
@with_options(COMMON)
def fit(
    name: str, traffic: tuple[Path, ...], out: Path, as_json: bool, quiet: bool, debug: bool, **options: Any
) -> None:
    """Train the forecaster NAME: lightgbm (boosted trees, ready in seconds: begin with it), lightgbm-day (without last
    week), last, yesterday, last-week (nothing to learn), lstm, xlstm, stn, stn-tf, stn-slstm, stn-slstm-tf (Ali et
    al.), sim-mstnet (Ma et al., for several services at once), or stn-slstm-day (ours).

    \b
    gentraffic forecast fit lightgbm --traffic measured.nc -o my-forecaster
    gentraffic forecast fit stn-slstm-tf --traffic milan.nc --seed 3 -o stn-slstm-tf-milan

    Steps are split in time order; scalers see the training part only. To resume after an interruption, run the same
    command again: the result is the same to the last bit.
    """
    from gentraffic.api import forecast as forecaster

    with progress("training", quiet=quiet) as tell:
        found = speaks_options(forecaster.fit)(name, traffic, out=out, progress=tell, command=command_line(), **options)
    told = found.training
    said = f"{name}, nothing to learn"
    if told:
        said = (
            f"{told['parameters']} weights, {told['windows']} windows, {told['steps']} steps in {told['minutes']} min"
        )
    values = {"output": str(out), "forecaster": name, "services": found.services, **told, **found.scores}
    lines = [*_warned(found.warnings), found.provenance["tables"]["held_out"], f"{out}: {said}"]
    report(values | {"warnings": list(found.warnings)}, lines, as_json=as_json, quiet=quiet)


@forecast.command(short_help="Continue a series.")
@MODEL
@click.option("--history", type=FILE, required=True, metavar="FILE", help="Traffic up to now: .nc .zarr .parquet .csv.")
@SERVICE
@click.option("--horizon", default=1, show_default=True, help="Steps to forecast; beyond the first by feeding back.")
@click.option(
    "--scaler",
    type=click.Choice(["history", "model"]),
    default="history",
    show_default=True,
    help="Mean and spread of each cell: of the history given, or of the training part (for short histories).",
)
@DEVICE
@click.option("-o", "--out", type=FILE, required=True, metavar="OUT", help="Traffic: .nc .zarr .parquet .csv .tif.")
@with_options(COMMON)
def run(
    model: Path, history: Path, device: str, out: Path, as_json: bool, quiet: bool, debug: bool, **options: Any
) -> None:
    """Forecast the steps that follow a traffic file.

    \b
    gentraffic forecast run --model my-forecaster --history measured.nc -o next.nc
    gentraffic forecast run --model my-forecaster --history measured.nc --horizon 36 -o evening.nc

    The history may be of cells that the forecaster never saw; it must have the cadence that it was fitted on.
    """
    from gentraffic.api import forecast as forecaster
    from gentraffic.dataset.schema import services
    from gentraffic.forecasting.choices import warnings_of

    found = speaks_options(forecaster.load)(model, device=device)
    with progress("forecasting", quiet=quiet) as tell:
        result = speaks_options(forecaster.run)(
            found, history, out=out, progress=tell, command=command_line(), **options
        )
    cells, horizon, names = result.sizes["cell"], result.sizes["time"], services(result)
    first, warnings = str(result["time"].values[0])[:16] + "Z", warnings_of(cells)
    values = {"output": str(out), "forecaster": found.name, "services": names, "horizon": horizon, "first": first}
    line = f"{out}: {horizon} steps of {', '.join(names)} from {first} on, {cells} cells"
    lines = [*_warned(warnings), line]
    report(values | {"cells": cells, "warnings": warnings}, lines, as_json=as_json, quiet=quiet)


@forecast.command(short_help="Score a forecaster beside the naive ones.")
@MODEL
@click.option("--traffic", type=FILE, required=True, metavar="FILE", help="Measured traffic: .nc .zarr .parquet .csv.")
@SERVICE
@click.option("--horizon", default=1, show_default=True, help="Steps ahead, each with its own scores.")
@click.option("--starts", type=int, metavar="N", help="Forecast from N first steps, evenly spread. [default: all]")
@DEVICE
@click.option("--html", type=FILE, metavar="FILE.html", help="A page with maps and curves that needs no network.")
@with_options(COMMON)
def score(
    model: Path, traffic: Path, html: Path | None, as_json: bool, quiet: bool, debug: bool, **options: Any
) -> None:
    """Score on the last 15% of the steps (or what `forecast fit` left for the test): mae, rmse, r2, ssim.

    \b
    gentraffic forecast score --model my-forecaster --traffic measured.nc
    gentraffic forecast score --model my-forecaster --traffic another-city.nc --horizon 6 --json
    gentraffic forecast score --model my-forecaster --traffic measured.nc --horizon 6 --html page.html

    The scaler of each cell sees the steps of the training part only, also for a city that the forecaster never saw.
    """
    from gentraffic.api import forecast as forecaster
    from gentraffic.forecasting.score import table

    found = speaks_options(forecaster.score)(model, traffic, html=html, **options)
    scored, page = found.scored, {} if html is None else {"html": str(html)}
    values = {
        "model": str(model),
        "model_sha256": found.sha256,
        "forecaster": found.forecaster,
        "traffic": str(traffic),
    }
    values |= found.to_json() | {"warnings": list(found.warnings)} | page
    lines = _warned(found.warnings)
    for s, (name, units) in enumerate(zip(found.services, found.units, strict=True)):
        lines += [f"{name}, {units}, {len(scored.starts)} starts x {scored.real.shape[1]} cells", table(scored, s)]
    lines += [f"no row {name}: {why}" for name, why in scored.missing.items()]
    report(values, [*lines, *page.values()], as_json=as_json, quiet=quiet)


def _warned(warnings: Sequence[str]) -> list[str]:
    return [f"warning: {warning}" for warning in warnings]
