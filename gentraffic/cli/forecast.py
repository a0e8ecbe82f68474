"""`gentraffic forecast fit|run|score`: train a forecaster, continue a series, and say how good that is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

import gentraffic
from gentraffic.api.forecast_result import forecast_facts
from gentraffic.api.result import Facts
from gentraffic.cli import options as shared
from gentraffic.cli.options import AT_LEAST_1, Result, call, file_option, out_option, prints, shown

MODEL = file_option("--model", required=True, metavar="DIR", help="A folder of `gentraffic forecast fit`.")
DEVICE = click.option("--device", default="cpu", help="cpu or cuda.")


@click.group(short_help="Forecast traffic: fit, run, score.")
def forecast() -> None:
    """Forecasters of measured or synthetic traffic.

    \b
    gentraffic forecast fit lightgbm --traffic measured.nc -o my-forecaster
    gentraffic forecast run --model my-forecaster --history measured.nc --horizon 6 -o next-hour.nc
    gentraffic forecast score --model my-forecaster --traffic measured.nc --horizon 6 --html page.html
    """


@forecast.command(cls=shared.listing("forecaster"), short_help="Train a forecaster on traffic (resumable).")
@click.argument("name")
@file_option("--traffic", multiple=True, required=True, help="Traffic; repeat it.")
@shared.SERVICES
@out_option("The folder of the forecaster.", "DIR")
@click.option("--train", default=0.70, help="Share of the steps that train, from the first on.")
@click.option("--validation", default=0.15, help="Share that follows and chooses the weights; the rest tests.")
@click.option("--steps", type=AT_LEAST_1,
              help="Batches, or trees, at most. [default: five epochs, 500 to 20,000; 600 trees]")  # fmt: skip
@click.option("--batch", type=AT_LEAST_1, help="Windows per batch. [default: 128]")
@click.option("--learning-rate", type=shared.POSITIVE, help="Of Adam. [default: 0.001]")
@click.option("--stride", type=AT_LEAST_1, help="Steps between training windows of a cell. [default: 6]")
@click.option("--paper", is_flag=True, help="lstm to stn-slstm-tf: as Ali et al. train, 40 epochs at 0.0005.")
@click.option("--no-sharing", is_flag=True, help="Ablation: sim-mstnet without attention between services.")
@click.option("--no-loss-weights", is_flag=True, help="Ablation: sim-mstnet, all services weighed alike.")
@click.option("--backend", default="fast", help="Of the sLSTM: fast (ours), vanilla, cuda (xlstm).")
@DEVICE
@shared.SEED
@shared.THREADS
@prints
def fit(name: str, traffic: tuple[Path, ...], out: Path, **options: Any) -> Result:
    """Train the forecaster NAME: lightgbm (boosted trees: begin with it), lightgbm-day (without last
    week), last, yesterday, last-week (nothing to learn), lstm, xlstm, stn, stn-tf, stn-slstm, stn-slstm-tf (Ali et
    al.), sim-mstnet (Ma et al., for several services at once), or stn-slstm-day (ours).

    \b
    gentraffic forecast fit lightgbm --traffic measured.nc -o my-forecaster
    gentraffic forecast fit stn-slstm-tf --traffic milan.nc --seed 3 -o stn-slstm-tf-milan

    Steps are split in time order; scalers see the training part only. To resume after an interruption, run the same
    command again: the result is the same to the last bit.
    """
    return call(gentraffic.forecast.fit, name, traffic, bar="training", out=out, **options)


@forecast.command(short_help="Continue a series.")
@MODEL
@file_option("--history", required=True, help="Traffic up to now: .nc .zarr .parquet .csv.")
@shared.SERVICES
@click.option("--horizon", default=1, help="Steps to forecast; beyond the first by feeding back.")
@click.option("--scaler", type=click.Choice(["history", "model"]), default="history",
              help="Mean and spread of each cell: of the history, or of the training part.")  # fmt: skip
@click.option("--members", type=AT_LEAST_1, default=1, help="Forecasts that hold the doubt; 20 or more give a range.")
@shared.SEED
@DEVICE
@out_option("Traffic: .nc .zarr .parquet .csv .tif.")
@prints
def run(model: Path, history: Path, out: Path, **options: Any) -> Facts:
    """Forecast the steps that follow a traffic file.

    \b
    gentraffic forecast run --model my-forecaster --history measured.nc -o next.nc
    gentraffic forecast run --model my-forecaster --history measured.nc --horizon 36 -o evening.nc
    gentraffic forecast run --model my-forecaster --history measured.nc --horizon 6 --members 50 -o range.nc

    The history may be of cells that the forecaster never saw; it must have the cadence that it was fitted on.
    """
    return forecast_facts(call(gentraffic.forecast.run, model, history, bar="forecasting", out=out, **options), out)


@forecast.command(short_help="Score a forecaster beside the naive ones.")
@MODEL
@file_option("--traffic", required=True, help="Measured traffic: .nc .zarr .parquet .csv.")
@shared.SERVICES
@click.option("--horizon", default=1, help="Steps ahead, each with its own scores.")
@click.option("--starts", type=int, metavar="N", help="Forecast from N first steps, evenly spread. [default: all]")
@DEVICE
@file_option("--html", metavar="FILE.html", help="A page with maps and curves that needs no network.")
@prints
def score(model: Path, traffic: Path, html: Path | None, **options: Any) -> Facts:
    """Score on the last 15% of the steps (or what `forecast fit` left for the test): mae, rmse, r2, ssim.

    \b
    gentraffic forecast score --model my-forecaster --traffic measured.nc
    gentraffic forecast score --model my-forecaster --traffic another-city.nc --horizon 6 --json
    gentraffic forecast score --model my-forecaster --traffic measured.nc --horizon 6 --html page.html

    The scaler of each cell sees the steps of the training part only, also for a city that the forecaster never saw.
    """
    return shown(call(gentraffic.forecast.score, model, traffic, html=html, **options), html=html)
