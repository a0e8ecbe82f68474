"""`gentraffic forecast fit|run|score`: train a forecaster, continue a series, and say how good that is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

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

if TYPE_CHECKING:
    import xarray as xr

    from gentraffic.forecasting.fit import Fitted

FILE = click.Path(path_type=Path)
MODEL = click.option("--model", type=FILE, required=True, metavar="DIR", help="A folder of `gentraffic forecast fit`.")
DEVICE = click.option("--device", default="cpu", show_default=True, help="cpu or cuda.")
SERVICE = click.option("--service", multiple=True, metavar="NAME", help="The traffic variable; repeat it for several.")


@click.group(short_help="Forecast traffic: fit, run, score.")
def forecast() -> None:
    """Forecasters of measured or synthetic traffic.

    \b
    gentraffic forecast fit stn-slstm-day --traffic measured.nc -o my-forecaster
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
@click.option("--steps", type=AT_LEAST_1, help="Training batches at most. [default: five epochs, 500 to 20,000]")
@click.option("--batch", type=AT_LEAST_1, help="Windows per batch. [default: 128]")
@click.option("--learning-rate", type=POSITIVE, help="Of Adam. [default: 0.001]")
@click.option("--stride", type=AT_LEAST_1, help="Steps between training windows of a cell. [default: 6]")
@click.option("--backend", default="fast", show_default=True, help="Of the sLSTM: fast (ours), vanilla, cuda (xlstm).")
@DEVICE
@click.option("--seed", type=COUNT, default=0, show_default=True)
@THREADS
@with_options(COMMON)
def fit(
    name: str, traffic: tuple[Path, ...], service: tuple[str, ...], out: Path, train: float, validation: float,
    backend: str, device: str, threads: int, as_json: bool, quiet: bool, debug: bool, **options: Any,
) -> None:  # fmt: skip
    """Train the forecaster NAME: last, yesterday, last-week (nothing to learn), lstm, xlstm, stn, stn-tf, stn-slstm,
    stn-slstm-tf (Ali et al.), sim-mstnet (Ma et al., for several services at once), or stn-slstm-day (ours).

    \b
    gentraffic forecast fit stn-slstm-day --traffic measured.nc -o my-forecaster
    gentraffic forecast fit stn-slstm-tf --traffic milan.nc --seed 3 -o stn-slstm-tf-milan

    Steps are split in time order; scalers see the training part only. To resume after an interruption, run the same
    command again: the result is the same to the last bit.
    """
    import numpy as np
    import torch

    from forecasters import fit_scaler
    from gentraffic.dataset.schema import services as names_of
    from gentraffic.errors import WrongUse
    from gentraffic.forecasting.data import networks_of, split
    from gentraffic.forecasting.fit import fit_forecaster
    from gentraffic.forecasting.folder import save_fitted
    from gentraffic.forecasting.provenance import provenance_of
    from gentraffic.forecasting.registry import recipe_of
    from gentraffic.forecasting.score import score_beside_naive, starts_within, table
    from gentraffic.forecasting.task import Plan
    from gentraffic.generators.cards import card
    from gentraffic.io.files import read_traffic
    from gentraffic.training.checkpoint import checkpoint_beside

    recipe_of(name)
    checkpoint = checkpoint_beside(out)
    if not (0 < train < 1 and 0 <= validation < 1 and train + validation < 1):
        raise WrongUse(f"--train {train} --validation {validation}: positive shares that leave some steps for the test")
    given = {key: value for key, value in options.items() if value is not None}
    if threads:
        torch.set_num_threads(threads)
    check_device(device)
    design = design_of(name, backend, device)
    read = [read_traffic(path) for path in traffic]
    chosen = list(service) or names_of(read[0])
    networks = [networks_of(ds, chosen if service else None) for ds in read]
    parts = [split(member, train, validation) for members in networks for member in members]
    plan = Plan(**given)
    with progress("training", quiet=quiet) as tell:
        fitted = fit_forecaster(
            name,
            [part[0] for part in parts],
            [part[1] for part in parts],
            plan,
            design=design,
            checkpoint=checkpoint,
            device=device,
            on_step=lambda step, of, loss: tell(step, of),
        )
    first = parts[0]
    horizon = 6
    scored = score_beside_naive(fitted, first[2], horizon, starts_within(first[2], horizon))
    units = [str(read[0][s].attrs["units"]) for s in chosen]
    judged = table(scored)
    scaler = fit_scaler(first[0].network.values[:, : first[0].known])
    told = provenance_of(traffic, fitted, chosen, plan, command_line(), first[0].network.per_day, (train, validation))
    told |= {"scores": scored.to_json(chosen, units), "tables": {"held_out": judged}}
    ends = read[0]["time"].values[[first[2].first, first[2].last - 1]]  # of the first file; no cell is held out
    told["held_out_time"] = [f"{end}Z" for end in np.datetime_as_string(ends, unit="m").tolist()]
    if design and name != "xlstm":  # the weights are the same: the folder works where that backend does not
        fitted.model.register_to_config(backend="fast")
    save_fitted(
        fitted,
        out,
        cell_id=read[0]["cell_id"].values.tolist(),
        scaler=scaler,
        provenance=told,
        card=card(out.name, told),
    )
    checkpoint.unlink(missing_ok=True)
    warnings = warnings_of(first[0].network.values.shape[0])
    values = {"output": str(out), "forecaster": name, "services": chosen, **fitted.told, **told["scores"]}
    lines = [*(f"warning: {w}" for w in warnings), judged, said_of(fitted, out)]
    report(values | {"warnings": warnings}, lines, as_json=as_json, quiet=quiet)


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
    model: Path, history: Path, service: tuple[str, ...], horizon: int, scaler: str, device: str, out: Path,
    as_json: bool, quiet: bool, debug: bool,
) -> None:  # fmt: skip
    """Forecast the steps that follow a traffic file.

    \b
    gentraffic forecast run --model my-forecaster --history measured.nc -o next.nc
    gentraffic forecast run --model my-forecaster --history measured.nc --horizon 36 -o evening.nc

    The history may be of cells that the forecaster never saw; it must have the cadence that it was fitted on.
    """
    from gentraffic.errors import BadInput, WrongUse
    from gentraffic.forecasting.data import networks_of
    from gentraffic.forecasting.fit import check_fits
    from gentraffic.forecasting.fit import forecast as continued
    from gentraffic.forecasting.folder import load_fitted, stored_scaler
    from gentraffic.io.files import check_writable, read_traffic, write_traffic

    if horizon < 1:
        raise WrongUse(f"--horizon {horizon}: give 1 or more steps")
    check_writable(out)
    check_device(device)
    fitted, sha256 = load_fitted(model, device)
    ds = read_traffic(history)
    chosen = services_for(fitted, ds, service)
    networks = networks_of(ds, chosen)
    check_fits(fitted, networks[0])
    known = stored_scaler(model, ds["cell_id"].values) if scaler == "model" else None
    if known is None and networks[0].steps < networks[0].per_day:
        raise BadInput(
            f"{history}: too short a series: {networks[0].steps} steps, a day ({networks[0].per_day}) is needed to "
            "scale each cell; give a longer history, or --scaler model for cells that the forecaster was fitted on"
        )
    with progress("forecasting", quiet=quiet) as tell:
        ahead = []
        for i, network in enumerate(networks):
            ahead.append(continued(fitted, network, horizon, known))
            tell(i + 1, len(networks))
    result = continuation(ds, ahead, chosen, horizon, {
        "title": f"Forecast traffic, {ds.attrs.get('place', ds.attrs.get('title', ''))}".rstrip(", "),
        "source": "forecast; not measured",
        "model": f"{fitted.name} ({model.name})",
        "model_sha256": sha256,
        "command": command_line(),
    })  # fmt: skip
    write_traffic(result, out)
    first = str(result["time"].values[0])[:16] + "Z"
    warnings = warnings_of(ds.sizes["cell"])
    values = {"output": str(out), "forecaster": fitted.name, "services": chosen, "horizon": horizon, "first": first}
    line = f"{out}: {horizon} steps of {', '.join(chosen)} from {first} on, {ds.sizes['cell']} cells"
    lines = [*(f"warning: {w}" for w in warnings), line]
    report(values | {"cells": ds.sizes["cell"], "warnings": warnings}, lines, as_json=as_json, quiet=quiet)


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
    model: Path, traffic: Path, service: tuple[str, ...], horizon: int, starts: int | None, device: str,
    html: Path | None, as_json: bool, quiet: bool, debug: bool,
) -> None:  # fmt: skip
    """Score on the last 15% of the steps (or what `forecast fit` left for the test): mae, rmse, r2, ssim.

    \b
    gentraffic forecast score --model my-forecaster --traffic measured.nc
    gentraffic forecast score --model my-forecaster --traffic another-city.nc --horizon 6 --json
    gentraffic forecast score --model my-forecaster --traffic measured.nc --horizon 6 --html page.html

    The scaler of each cell sees the steps of the training part only, also for a city that the forecaster never saw.
    """
    from gentraffic.errors import WrongUse
    from gentraffic.forecasting.data import networks_of, split
    from gentraffic.forecasting.folder import load_fitted
    from gentraffic.forecasting.score import score_beside_naive, table
    from gentraffic.io import atomic
    from gentraffic.io.files import read_traffic

    if horizon < 1 or (starts is not None and starts < 1):
        raise WrongUse(f"--horizon {horizon}, --starts {starts}: give 1 or more")
    if html is not None:
        atomic.check_writable(html, (".html", ".htm"))
    check_device(device)
    fitted, sha256 = load_fitted(model, device)
    ds = read_traffic(traffic)
    chosen = services_for(fitted, ds, service)
    networks = networks_of(ds, chosen)
    if len(networks) > 1:
        raise WrongUse(f"{traffic} has {len(networks)} members: score on measured traffic, (cell, time)")
    part = split(networks[0], *fitted.told["split"])[2]
    scored = score_beside_naive(fitted, part, horizon, starts)
    units = [str(ds[name].attrs["units"]) for name in chosen]
    warnings = warnings_of(ds.sizes["cell"])
    values = {"model": str(model), "model_sha256": sha256, "forecaster": fitted.name, "traffic": str(traffic)}
    values |= scored.to_json(chosen, units) | {"warnings": warnings}
    lines = [f"warning: {w}" for w in warnings]
    for s, name in enumerate(chosen):
        lines += [f"{name}, {units[s]}, {len(scored.starts)} starts x {ds.sizes['cell']} cells", table(scored, s)]
    lines += [f"no row {name}: {why}" for name, why in scored.missing.items()]
    if html is not None:
        from gentraffic.reports.forecast import write_page

        write_page(scored, fitted.name, ds, chosen, html, traffic=traffic.name, model=model.name)
        values["html"] = str(html)
        lines.append(str(html))
    report(values, lines, as_json=as_json, quiet=quiet)


def check_device(device: str) -> None:
    """Raise WrongUse for a device that torch has not."""
    import torch

    from gentraffic.errors import WrongUse

    if device not in ("cpu", "cuda"):
        raise WrongUse(f"--device {device}: give cpu or cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise WrongUse("--device cuda: torch sees no GPU here; leave it out")


def design_of(name: str, backend: str, device: str) -> dict[str, Any]:
    """The arguments of the network that --backend stands for. Raises WrongUse for a backend that it has not."""
    from forecasters.slstm import BACKENDS
    from gentraffic.errors import WrongUse

    if backend == "fast":
        return {}
    if backend not in BACKENDS:
        raise WrongUse(f"--backend {backend}: give one of {', '.join(BACKENDS)}")
    if "slstm" not in name and name != "xlstm":
        raise WrongUse(f"--backend {backend}: {name} has no sLSTM")
    if backend == "cuda" and device != "cuda":
        raise WrongUse("--backend cuda: it needs a GPU, give --device cuda with it")
    return {"backend": backend}


def services_for(fitted: Fitted, ds: xr.Dataset, given: tuple[str, ...]) -> list[str]:
    """Which services of a file a forecaster is applied to: those given, else those it was fitted on, else the only one.

    Raises WrongUse where that is ambiguous.
    """
    from gentraffic.dataset.schema import services as names_of
    from gentraffic.errors import WrongUse

    have, learned = names_of(ds), list(fitted.told["services"])
    if given:
        return list(given)
    if set(learned) <= set(have):
        return learned
    if len(have) == len(learned) == 1:
        return have
    raise WrongUse(
        f"the forecaster knows {', '.join(learned)}, the file has {', '.join(have)}: name them with --service"
    )


def warnings_of(cells: int) -> list[str]:
    """What a user should know of so few cells."""
    return ["one cell: its neighbourhood is the cell itself, repeated"] if cells == 1 else []


def said_of(fitted: Fitted, out: Path) -> str:
    """One line on a fit."""
    if not fitted.told:
        return f"{out}: {fitted.name}, nothing to learn"
    t = fitted.told
    return f"{out}: {t['parameters']} weights, {t['windows']} windows, {t['steps']} steps in {t['minutes']} min"


def continuation(ds: xr.Dataset, ahead: list[Any], services: list[str], horizon: int, attrs: dict[str, str]) -> Any:
    """A Traffic Dataset of the steps after the end of `ds`; ahead: per member (cells, horizon, services)."""
    import numpy as np
    import xarray as xr

    from gentraffic.dataset.schema import COORD_ATTRS, check_traffic

    times = ds["time"].values
    ends = times[-1] + (times[1] - times[0]) * np.arange(1, horizon + 1)
    out = ds.drop_vars(["time", *ds.data_vars]).assign_coords(time=(("time",), ends, COORD_ATTRS["time"]))
    values = np.stack(ahead)  # (members, cells, horizon, services)
    for s, name in enumerate(services):
        dims = ("member", "cell", "time") if "member" in ds.dims else ("cell", "time")
        table = values[..., s] if "member" in ds.dims else values[0, ..., s]
        out[name] = xr.DataArray(np.ascontiguousarray(table), dims=dims, attrs=dict(ds[name].attrs))
    out.attrs = {**ds.attrs, **attrs}
    check_traffic(out)
    return out
