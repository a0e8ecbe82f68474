"""`gentraffic.forecast`: train a forecaster, continue a series, and score it beside the naive forecasters.

    import gentraffic
    model = gentraffic.forecast.fit("stn-slstm-day", "measured.nc", out="my-forecaster")
    ahead = gentraffic.forecast.run(model, "measured.nc", horizon=6)      # an xarray Dataset of the next six steps
    gentraffic.forecast.score("my-forecaster", "measured.nc", horizon=6)  # in a notebook: a table

Where traffic is wanted, a file (.nc, .zarr, .parquet, .csv) or a Dataset (cell, time) serves; where a forecaster is
wanted, its folder or what `fit` and `load` return.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from gentraffic.api.forecast_result import FittedForecaster, ForecastScores
from gentraffic.api.inputs import (
    check_positive,
    check_threads,
    check_whole,
    names_given,
    path_given,
    traffic_source,
    traffic_sources,
)
from gentraffic.api.language import speaks_python
from gentraffic.errors import WrongUse

if TYPE_CHECKING:
    import xarray as xr

    from gentraffic.forecasting.data import Part

__all__ = ["fit", "load", "run", "score"]
SCALERS = ("history", "model")


def __dir__() -> list[str]:
    return __all__  # what Tab offers: the functions, not what this module imports


@speaks_python
def fit(
    name: str,
    traffic: str | Path | xr.Dataset | Sequence[str | Path | xr.Dataset],
    *,
    service: str | Sequence[str] = (),
    train: float = 0.70,
    validation: float = 0.15,
    steps: int | None = None,
    batch: int | None = None,
    learning_rate: float | None = None,
    stride: int | None = None,
    paper: bool = False,
    no_sharing: bool = False,
    no_loss_weights: bool = False,
    backend: str = "fast",
    device: str = "cpu",
    seed: int = 0,
    threads: int = 0,
    out: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
    command: str = "gentraffic.forecast.fit",
) -> FittedForecaster:
    """Train a forecaster on traffic.

    Parameters
    ----------
    name : str
        lightgbm (boosted trees, the best here), lightgbm-day (without last week), last,
        yesterday, last-week (nothing to learn), lstm, xlstm, stn, stn-tf, stn-slstm, stn-slstm-tf (Ali et al.),
        sim-mstnet (Ma et al., for several services at once), stn-slstm-day (ours), or one that a package registers.
    traffic : path or Dataset ([member,] cell, time), or several
        What to learn from, all of one cadence, in any unit.
    service : str or sequence of str
        The variables to forecast; all of the first file by default.
    train, validation : float
        Shares of the steps that train, from the first on, and that follow and choose the weights; the rest tests.
    steps, batch : int, optional
        Training batches at most (five epochs by default, 500 to 20,000), and windows per batch (128). For lightgbm:
        trees for each step ahead at most (600).
    learning_rate : float, optional
        Of Adam; 0.001 by default.
    stride : int, optional
        Steps between training windows of a cell; 6 by default.
    paper : bool
        Train as Ali et al. do: Adam at 5e-4 for 40 epochs; of the forecasters of that paper alone.
    no_sharing, no_loss_weights : bool
        Of sim-mstnet: services do not hear one another; all count alike, not by the error that each has left.
    backend : {"fast", "vanilla", "cuda"}
        Of the sLSTM: ours, or those of the package xlstm.
    device : {"cpu", "cuda"}
        Where to train.
    seed : int
        Of weights and batches: the same seed gives the same bits on one type of machine.
    threads : int
        Of torch while it trains; 0 for as many as it has.
    out : path, optional
        The folder to write. An interrupted run is resumed by the same call.
    progress : callable, optional
        Is told (batches done, of).
    command : str
        What the provenance says made the forecaster.

    Returns
    -------
    FittedForecaster

    Raises
    ------
    WrongUse
        For an unknown name, service, backend or device, or a number out of its bounds.
    BadInput
        For traffic that is too short, has gaps, or is of several cadences; or a folder that cannot be written.
    BadModel
        For a checkpoint that is torn.
    """
    from forecasters import fit_scaler
    from gentraffic.dataset.schema import services as names_of
    from gentraffic.forecasting.choices import (
        ablations_of,
        check_shares,
        check_training,
        design_of,
        plan_of,
        torch_threads,
        warnings_of,
    )
    from gentraffic.forecasting.data import networks_of, split
    from gentraffic.forecasting.fit import Fitted, fit_forecaster
    from gentraffic.forecasting.folder import TrainingScaler
    from gentraffic.forecasting.provenance import provenance_of
    from gentraffic.forecasting.registry import recipe_of
    from gentraffic.forecasting.score import error_paths, score_beside_naive, starts_within, table
    from gentraffic.training.checkpoint import checkpoint_beside
    from gentraffic.training.processes import check_device
    from gentraffic.training.trainer import Run

    recipe = recipe_of(name)
    out = path_given(out)
    checkpoint = None if out is None else checkpoint_beside(out)
    check_shares(train, validation)
    check_whole(1, steps=steps, batch=batch, stride=stride)
    check_whole(0, seed=seed)
    check_threads(threads)
    check_positive(learning_rate=learning_rate)
    check_device(device)
    design = design_of(name, recipe, backend, device)
    design |= ablations_of(name, recipe, no_sharing, no_loss_weights)
    given = {"steps": steps, "batch": batch, "learning_rate": learning_rate, "stride": stride}
    check_training(name, recipe, given)
    plan = plan_of(name, recipe, given, seed, paper=paper)
    sources = traffic_sources(traffic, "traffic")
    asked = names_given(service)
    chosen = asked or names_of(sources[0].ds)
    networks = [networks_of(source.ds, chosen if asked else None) for source in sources]
    parts = [split(member, train, validation) for members in networks for member in members]
    with torch_threads(threads):
        fitted = fit_forecaster(
            name,
            [part[0] for part in parts],
            [part[1] for part in parts],
            plan,
            design=design,
            run=Run(checkpoint, None if progress is None else lambda step, of, loss: progress(step, of), device),
        )
        known, later, test = parts[0]
        fitted = replace(fitted, errors=error_paths(fitted, later, seed))
        scored = score_beside_naive(fitted, test, 6, starts_within(test, 6))
    files = [source.ds if source.path is None else source.path for source in sources]
    metadata = provenance_of(files, fitted, chosen, plan, command, known.network.per_day, (train, validation))
    units = [str(sources[0].ds[s].attrs["units"]) for s in chosen]
    metadata |= {"scores": scored.to_json(chosen, units), "tables": {"held_out": table(scored)}}
    metadata["held_out_time"] = _ends(sources[0].ds, test)  # of the first file; no cell is held out
    ids = tuple(str(cell) for cell in sources[0].ds["cell_id"].values.tolist())
    forecaster = FittedForecaster(
        Fitted(name, fitted.model, metadata, fitted.errors),
        metadata,
        TrainingScaler(ids, fit_scaler(known.network.values[:, : known.known])),
        training=fitted.metadata,
        warnings=tuple(warnings_of(len(ids), [member for members in networks for member in members])),
    )
    if out is None or checkpoint is None:
        return forecaster
    if (
        "backend" in design and name != "xlstm"
    ):  # the weights are the same: the folder works where that backend does not
        fitted.model.register_to_config(backend="fast")
    sha256 = _save(forecaster, out)
    checkpoint.unlink(missing_ok=True)
    return replace(forecaster, folder=out, sha256=sha256)


@speaks_python
def load(folder: str | Path, *, device: str = "cpu") -> FittedForecaster:
    """A forecaster from the folder that `fit` or `gentraffic forecast fit` wrote; every file is checked by its hash.

    Raises
    ------
    WrongUse
        For a device that torch has not.
    BadModel
        For a folder that is missing, changed or of another kind.
    """
    return _loaded(folder, device)


@speaks_python
def run(
    model: str | Path | FittedForecaster,
    history: str | Path | xr.Dataset,
    *,
    horizon: int = 1,
    service: str | Sequence[str] = (),
    scaler: str = "history",
    members: int = 1,
    seed: int = 0,
    device: str = "cpu",
    out: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
    command: str = "gentraffic.forecast.run",
) -> xr.Dataset:
    """Forecast the steps that follow a series.

    Parameters
    ----------
    model : path or FittedForecaster
        A folder, or what `fit` or `load` returned.
    history : path or Dataset ([member,] cell, time)
        Traffic up to now, of the cadence that the forecaster was fitted on; its cells may be new to it.
    horizon : int
        Steps to forecast; those beyond the forecaster's own come by feeding its forecasts back.
    service : str or sequence of str
        The variables to forecast; by default those that it was fitted on, or the only one.
    scaler : {"history", "model"}
        Mean and spread of each cell: of the history, which must be a day or longer, or of the training part.
    members : int
        More than 1: so many forecasts that hold its doubt, each with errors as the forecaster made them on its
        validation part, at the same time of day. The median and the 5% and 95% quantiles of 20 or more are a range.
    seed : int
        Of the errors drawn.
    device : {"cpu", "cuda"}
        Where to forecast; a FittedForecaster stays where it is.
    out : path, optional
        Where to write the forecast (.nc, .zarr, .parquet, .csv, .tif).
    progress : callable, optional
        Is told (members done, of).
    command : str
        What the attribute `command` of the forecast says.

    Returns
    -------
    xarray.Dataset
        Traffic ([member,] cell, time): `horizon` steps in the units of the history.

    Raises
    ------
    WrongUse
        For a number out of its bounds, an unknown service or scaler.
    BadInput
        For a history that is missing, too short, has gaps or another cadence; cells that the scaler does not know.
    BadModel
        For a folder that is missing, changed or of another kind.
    """
    from gentraffic.forecasting.choices import services_for
    from gentraffic.forecasting.continuation import (
        check_ahead,
        check_members,
        continuation,
        forecasts_after,
        members_after,
    )
    from gentraffic.io.files import check_writable, write_traffic

    check_whole(1, horizon=horizon, members=members)
    check_whole(0, seed=seed)
    if scaler not in SCALERS:
        raise WrongUse(f"--scaler {scaler}: give one of {', '.join(SCALERS)}")
    if out is not None:
        check_writable(out)
    forecaster = _loaded(model, device)
    source = traffic_source(history, "history")
    chosen = services_for(forecaster.services, source.ds, names_given(service))
    check_ahead(source.ds, horizon, members * len(chosen), source.name)
    known = forecaster.scaler if scaler == "model" else None
    fitted = forecaster.fitted
    if members > 1:
        check_members(fitted, source.ds, horizon, source.name)
    ahead = forecasts_after(fitted, source.ds, chosen, horizon, name=source.name, known=known, tell=progress)
    if members > 1:
        ahead = members_after(fitted, source.ds, ahead, chosen, known=known, members=members, seed=seed)
    place = str(source.ds.attrs.get("place", source.ds.attrs.get("title", "")))
    attrs = {
        "title": f"Forecast traffic, {place}".rstrip(", "),
        "source": "forecast; not measured",
        "model": f"{forecaster.name} ({forecaster.folder.name})" if forecaster.folder else forecaster.name,
        **({"model_sha256": forecaster.sha256} if forecaster.sha256 else {}),
        "command": command,
    }
    result = continuation(source.ds, ahead, chosen, attrs)
    if out is not None:
        write_traffic(result, out)
    return result


@speaks_python
def score(
    model: str | Path | FittedForecaster,
    traffic: str | Path | xr.Dataset,
    *,
    horizon: int = 1,
    starts: int | None = None,
    service: str | Sequence[str] = (),
    device: str = "cpu",
    html: str | Path | None = None,
) -> ForecastScores:
    """Score a forecaster beside the naive ones on the last steps of measured traffic: mae, rmse, r2, ssim.

    It is scored on the last 15% of the steps, or what `fit` left for the test. The scaler of each cell sees the steps
    of the training part only, also of a city that the forecaster never saw.

    Parameters
    ----------
    model : path or FittedForecaster
        A folder, or what `fit` or `load` returned.
    traffic : path or Dataset (cell, time)
        Measured traffic, of the cadence that the forecaster was fitted on.
    horizon : int
        Steps ahead, each with its own scores.
    starts : int, optional
        Forecast from so many first steps, evenly spread; all by default.
    service : str or sequence of str
        The variables to forecast; by default those that it was fitted on, or the only one.
    device : {"cpu", "cuda"}
        Where to forecast; a FittedForecaster stays where it is.
    html : path, optional
        Where to write a page with maps and curves (.html).

    Returns
    -------
    ForecastScores

    Raises
    ------
    WrongUse
        For a number out of its bounds, an unknown service, or traffic with members.
    BadInput
        For traffic that is missing, too short, has gaps or another cadence.
    BadModel
        For a folder that is missing, changed or of another kind.
    """
    from gentraffic.forecasting.choices import services_for, warnings_of
    from gentraffic.forecasting.data import networks_of, split
    from gentraffic.forecasting.score import score_beside_naive
    from gentraffic.io import atomic

    check_whole(1, horizon=horizon, starts=starts)
    if html is not None:
        atomic.check_writable(html, (".html", ".htm"))
    forecaster = _loaded(model, device)
    source = traffic_source(traffic, "traffic")
    ds = source.ds
    chosen = services_for(forecaster.services, ds, names_given(service))
    networks = networks_of(ds, chosen)
    if len(networks) > 1:
        raise WrongUse(f"{source.name} has {len(networks)} members: score on measured traffic, (cell, time)")
    test = split(networks[0], *forecaster.provenance["split"])[2]
    scored = score_beside_naive(forecaster.fitted, test, horizon, starts)
    if html is not None:
        from gentraffic.reports.forecast import write_page

        folder = forecaster.folder.name if forecaster.folder else forecaster.name
        write_page(scored, forecaster.name, ds, chosen, html, traffic=Path(source.name).name, model=folder)
    units = tuple(str(ds[s].attrs["units"]) for s in chosen)
    return ForecastScores(
        scored, forecaster.name, tuple(chosen), units, forecaster.sha256,
        tuple(warnings_of(ds.sizes["cell"], networks)), str(forecaster.folder or forecaster.name), source.name,
    )  # fmt: skip


def _loaded(model: str | Path | FittedForecaster, device: str) -> FittedForecaster:
    """A forecaster that was handed over, or that of a folder."""
    from gentraffic.forecasting.folder import load_fitted, stored_scaler
    from gentraffic.training.processes import check_device

    if isinstance(model, FittedForecaster):
        return model
    check_device(device)
    fitted, sha256 = load_fitted(model, device)
    return FittedForecaster(fitted, fitted.metadata, stored_scaler(Path(model)), Path(model), sha256)


def _ends(ds: xr.Dataset, part: Part) -> list[str]:
    """The first and the last time of a part."""
    import numpy as np

    ends = ds["time"].values[[part.first, part.last - 1]]
    return [f"{end}Z" for end in np.datetime_as_string(ends, unit="m").tolist()]


def _save(forecaster: FittedForecaster, out: Path) -> str:
    """Write the folder of a forecaster; the SHA-256 of its files."""
    from gentraffic.forecasting.folder import save_fitted
    from gentraffic.generators.base import read_folder
    from gentraffic.generators.cards import card

    text = card(out.name, forecaster.provenance)
    save_fitted(forecaster.fitted, out, scaler=forecaster.scaler, provenance=forecaster.provenance, card=text)
    return str(read_folder(out).sha256)
