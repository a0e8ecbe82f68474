"""Files in and out: `gentraffic.read_traffic`, `fetch`, `import_*`, `split`, `export`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from gentraffic.api.language import speaks_python
from gentraffic.api.result import Facts, Shown
from gentraffic.errors import BadInput, WrongUse

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr


@dataclass(frozen=True)
class Exported(Shown):
    """A file or folder in the format of another tool. cells, steps: of the traffic. facts: what its writer counted."""

    path: Path
    format: str
    cells: int
    steps: int
    facts: Mapping[str, Any]

    @property
    def title(self) -> str:  # type: ignore[override]
        """The format and the file."""
        return f"{self.format}, {self.path}"

    def rows(self) -> list[tuple[str, ...]]:
        """Name and value of each fact but the note."""
        facts = {"cells": self.cells, "steps": self.steps, **self.facts}
        return [("", "value"), *((name, short_text(value)) for name, value in facts.items() if name != "note")]

    def sentences(self) -> Sequence[str]:
        """What a reader must know of the numbers."""
        return [str(self.facts["note"])] if "note" in self.facts else []

    def to_json(self) -> dict[str, Any]:
        """What `--json` prints: output, format, cells, steps, and the facts."""
        values = {"output": str(self.path), "format": self.format, "cells": self.cells, "steps": self.steps}
        return {**values, **self.facts}

    def text(self) -> list[str]:
        """Lines for a terminal: what was written, in figures, and the notes."""
        facts = ", ".join(f"{name} {short_text(value)}" for name, value in self.facts.items() if name != "note")
        line = f"{self.path}: {self.format}, {self.cells} cells x {self.steps} steps; {facts}"
        return [line, *(f"note: {note}" for note in self.sentences())]


def short_text(value: object) -> str:
    """A count, a sum or several of them in a few words: 1,000; internet=3 voice=4; 24 x 3."""
    if isinstance(value, dict):
        return " ".join(f"{key}={short_text(part)}" for key, part in value.items())
    if isinstance(value, list):
        return " x ".join(map(str, value)) if all(isinstance(v, int) for v in value) else ", ".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) else str(value)


@speaks_python
def read_traffic(path: str | Path) -> xr.Dataset:
    """The traffic in a file (.nc, .zarr, .parquet, .csv), checked: ([member,] cell, time), float32.

    Raises WrongUse for the suffix, BadInput else.
    """
    from gentraffic.io.files import read_traffic as read

    return read(path)


@speaks_python
def write_traffic(traffic: xr.Dataset, path: str | Path) -> None:
    """Write traffic ([member,] cell, time), checked, in the format that the suffix of `path` names: .nc, .zarr,
    .parquet, .csv or .tif. An older file is replaced as a whole, or not at all.

    Raises WrongUse for the suffix, BadInput where the traffic is none or the file cannot be written.
    """
    from gentraffic.io.files import write_traffic as write

    write(traffic, path)


def traffic_facts(traffic: xr.Dataset, out: str | Path, context: str | Path | None = None) -> Facts:
    """Traffic ([member,] cell, time) that was written to `out`, in figures; the context of its cells, to `context`."""
    from gentraffic.dataset.schema import warnings_in
    from gentraffic.modelling.measured import COPIED_WEEK

    cells, steps, names = traffic.sizes["cell"], traffic.sizes["time"], [str(name) for name in traffic.data_vars]
    timezone, also = traffic.attrs["timezone"], {} if context is None else {"context": str(context)}
    values = {"output": str(out), "cells": cells, "steps": steps, "services": names, "timezone": timezone}
    line = f"{out}: {cells} cells x {steps} steps of {', '.join(names)}, {timezone}"
    warnings = [*warnings_in(traffic), *([COPIED_WEEK] if _repeats_a_week(traffic) else [])]
    return Facts({**values, "warnings": warnings, **also}, [line, *also.values()])


def _repeats_a_week(traffic: xr.Dataset) -> bool:
    """Whether any member of the first service goes on with its first week over again."""
    from gentraffic.dataset.panel import DAY_S, read_panel
    from gentraffic.modelling.measured import copied_week

    panel = read_panel(traffic)
    if not panel.step_s or DAY_S % panel.step_s:
        return False
    return any(copied_week(member, panel.per_day) for member in panel.values)


def split_facts(parts: Sequence[xr.Dataset], files: Sequence[Path], how: Mapping[str, Any]) -> Facts:
    """The training and the test part (cell, time) of traffic, in figures. files: that hold them. how: it was split."""
    sizes = [dict(part.sizes) for part in parts]
    lines = [f"{path}: {s['cell']} cells x {s['time']} steps" for path, s in zip(files, sizes, strict=True)]
    if twins := parts[0].attrs.get("split_twins"):
        lines.append(f"{twins}: cells with the same series are kept on one side")
    return Facts({"train": str(files[0]), "test": str(files[1]), **how, "sizes": sizes}, lines)


def traffic_of(given: str | Path | xr.Dataset) -> xr.Dataset:
    """A traffic Dataset, from memory or as xarray opens a file, or the file of a path, checked.

    Raises WrongUse, BadInput.
    """
    from gentraffic.dataset.schema import check_traffic
    from gentraffic.io.files import as_in_memory
    from gentraffic.io.files import read_traffic as read

    if isinstance(given, str | Path):
        return read(given)
    given = as_in_memory(_dataset(given, "traffic"))
    check_traffic(given)
    return given


def context_of(given: str | Path | xr.Dataset) -> xr.Dataset:
    """A context Dataset that is handed over, also one that xarray opened itself, or the file of a path or of a bundled
    city, checked.

    Raises WrongUse, BadInput.
    """
    from gentraffic.dataset.schema import check_context
    from gentraffic.io.files import as_in_memory, read_context
    from gentraffic.places.find import context_file

    if isinstance(given, str | Path):
        return read_context(context_file(given))
    given = as_in_memory(_dataset(given, "a context"))
    check_context(given)
    return given


def _dataset(given: Any, what: str) -> xr.Dataset:
    """The Dataset that is handed over. Raises WrongUse for anything else, such as one variable of it."""
    import xarray as xr

    if isinstance(given, xr.DataArray):
        raise WrongUse(
            f"{what} is given as a DataArray, one variable alone: give the Dataset, `ds` and not `ds.traffic`"
        )
    if not isinstance(given, xr.Dataset):
        raise WrongUse(f"{what} is given as a {type(given).__name__}: give the path of a file, or an xarray Dataset")
    return given


@speaks_python
def import_dataset(
    name: str, path: str | Path, *, out: str | Path | None = None, context_out: str | Path | None = None
) -> tuple[xr.Dataset, xr.Dataset | None]:
    """Traffic (cell, time) of a public data set, and the context of its cells, None where it has none.

    name: "uomo", whose files have a context, "milan-week", "milan-5x5" or "beijing", which have none: `fetch` makes it,
    and "milan" is bundled (`gentraffic import --help`). path: its file; of "milan-week" the folder
    with the files of 248 and of 100 cells. out, context_out: where they are
    written, if anywhere. Raises WrongUse, BadInput.
    """
    from gentraffic.io.files import CONTEXT_FORMATS, check_writable, write_context
    from gentraffic.io.importers.registry import read_data_set

    if context_out is not None:
        check_writable(context_out, CONTEXT_FORMATS)
    with _written(out) as keep:
        traffic, context = read_data_set(name, Path(path))
        if context_out is not None and context is None:
            raise WrongUse(f"{name} has no context of its cells: leave {context_out} out")
        if context_out is not None and context is not None:
            write_context(context, context_out)
        return keep(traffic), context


@speaks_python
def import_uomo(
    path: str | Path, *, out: str | Path | None = None, context_out: str | Path | None = None
) -> tuple[xr.Dataset, xr.Dataset]:
    """`import_dataset` of UoMo patches (.npz, or the upstream JSON): traffic (cell, time) and context.

    out, context_out: where they are written, if anywhere. Raises WrongUse, BadInput.
    """
    traffic, context = import_dataset("uomo", path, out=out, context_out=context_out)
    assert context is not None
    return traffic, context


@speaks_python
def import_telecom_italia(
    paths: str | Path | Sequence[str | Path],
    *,
    cells: str | Path | None = None,
    layer: str | None = None,
    service: str | Sequence[str] | None = None,
    out: str | Path | None = None,
) -> xr.Dataset:
    """Raw days of the Telecom Italia Big Data Challenge: (cell, time), five services, every 10 minutes.

    cells: the grid of the cells, Milan's unless given. layer: of a file with several. service: which of the five, all
    unless given. out: where it is written, if anywhere. Raises BadInput, WrongUse.
    """
    from gentraffic.dataset.services import split_names
    from gentraffic.io.importers.telecom_italia import TELECOM_SERVICES, read_telecom_italia

    days = [Path(path) for path in ([paths] if isinstance(paths, str | Path) else paths)]
    names = split_names(service) or TELECOM_SERVICES
    with _written(out) as keep:
        grid = None if cells is None else Path(cells)
        return keep(read_telecom_italia(days, cells=grid, layer=layer, services=names))


@contextmanager
def _as_file(table: str | Path | pd.DataFrame) -> Iterator[str | Path]:
    """The path of a table; of a DataFrame that of a Parquet file with its rows, for as long as it is read."""
    if isinstance(table, str | Path):
        yield table
        return
    with TemporaryDirectory() as folder:
        path = Path(folder) / "DataFrame.parquet"
        named = any(name is not None for name in table.index.names)
        try:
            (table.reset_index() if named else table).to_parquet(path, index=False)
        except (TypeError, ValueError) as error:  # as pyarrow's own are
            raise BadInput(f"the DataFrame: a column holds values of several kinds ({error.args[-1]})") from error
        try:
            yield path
        except (BadInput, WrongUse) as error:  # whose text names a file that nobody knows
            raise type(error)(str(error).replace(str(path), "the DataFrame")) from error


@speaks_python
def import_table(
    path: str | Path | pd.DataFrame,
    *,
    timezone: str | None = None,
    service: str | None = None,
    unit: str | None = None,
    cells: str | Path | None = None,
    layer: str | None = None,
    columns: str | None = None,
    id_column: str | None = None,
    decimal: str | None = None,
    thousands: str | None = None,
    network: str | None = None,
    keep_gaps: bool = False,
    out: str | Path | None = None,
) -> xr.Dataset:
    """Traffic (cell, time) from a table: CSV, Excel, Parquet or a DataFrame with cell, time and a value per service.

    timezone: of times without one. service: what the column `value` holds. unit: "GB", "Mbit/s", or of each service,
    "internet=GB,users=1"; "unknown" where it is left out. network: a name for the measured network, by which models
    that learn from it, and `evaluate`, know it again. cells: where the table has no lon and lat, polygons or a table of
    stations; without both the series have no positions. layer: of a file of cells with several. columns:
    "id=CELL_NAME,internet=DL_GB". decimal, thousands: "point" or "comma", where numbers leave a doubt. keep_gaps: NaN
    where a cell has no value, which `sample(known=...)` fills, in place of an error. out: where it is written, if
    anywhere; with gaps a .nc or .zarr. Raises WrongUse, BadInput.
    """
    from gentraffic.io.importers.table import read_table
    from gentraffic.io.source_columns import make_reading

    if keep_gaps and out is not None and Path(out).suffix.lower() not in (".nc", ".zarr"):
        raise WrongUse(f"--keep-gaps: {out} cannot hold gaps, give a .nc or .zarr")
    with _written(out, gaps=keep_gaps) as keep:
        reading = make_reading(columns, id_column, decimal, thousands)
        where = None if cells is None else Path(cells)
        if network is not None and (not network.strip() or set(network) & set(",:")):
            raise WrongUse(f"--network {network}: give a name without commas and colons")
        with _as_file(path) as table:
            traffic = read_table(
                table, timezone=timezone, service=service, cells=where, unit=unit, layer=layer, reading=reading,
                keep_gaps=keep_gaps,
            )  # fmt: skip
        return keep(traffic if network is None else traffic.assign_attrs(network=network.strip()))


@speaks_python
def split(
    traffic: str | Path | xr.Dataset,
    *,
    test: str | float | None = None,
    model: str | Path | None = None,
    by: str = "cell",
    seed: int = 0,
    out: str | Path | None = None,
    rest: str | Path | None = None,
) -> tuple[xr.Dataset, xr.Dataset]:
    """Traffic as a training and a test part without a common cell or day, whose union is the traffic, bit for bit.

    Parameters
    ----------
    traffic : path or Dataset ([member,] cell, time)
        What is split.
    test : str or float, optional
        Share of the cells, locations or whole local days that is the test, "20%" or 0.2.
    model : path, optional
        A model folder, instead of `test`: the test holds the cells that its `fit` held out.
    by : {"cell", "location", "time"}
        What is chosen, by the seed; "time" takes the last local days.
    seed : int
        Of the choice.
    out : path, optional
        Where the training part is written.
    rest : path, optional
        Where the test part is written.

    Returns
    -------
    (Dataset, Dataset)
        Training and test.

    Raises
    ------
    WrongUse, BadInput, BadModel
        Of `gentraffic.errors`.
    """
    from gentraffic.dataset.splits import split_like_model, split_traffic
    from gentraffic.generators.base import read_folder

    if (test is None) == (model is None):
        raise WrongUse("give --test SHARE, or --model DIR for the cells that a model held out")
    with _written(out) as keep_train, _written(rest) as keep_test:
        whole = traffic_of(traffic)
        if model is not None:
            parts = split_like_model(whole, read_folder(model).provenance)
        else:
            parts = split_traffic(whole, test=str(test), by=by, seed=seed)
        train = keep_train(parts[0])
        try:
            return train, keep_test(parts[1])
        except BadInput as error:
            if out is None:
                raise
            raise BadInput(f"{error}; {out} is written, and belongs to no {rest} that stands there") from error


@speaks_python
def export(
    traffic: str | Path | xr.Dataset,
    format: str,
    out: str | Path,
    *,
    service: str | None = None,
    member: str | int | None = None,
    unit: str | None = None,
    counter: str | None = None,
    capacity: str | None = None,
    form: str | None = None,
    release: str | None = None,
    decimal: str | None = None,
    statistic: str | None = None,
    announce: Callable[[str], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Exported:
    """Write traffic in the format of another tool.

    Parameters
    ----------
    traffic : path or Dataset ([member,] cell, time)
        What is written.
    format : str
        As `gentraffic export --help` lists them, such as "geopackage".
    out : path
        The file, or the folder, to write.
    service : str, optional
        Only this variable.
    member : str or int, optional
        One series per cell of an ensemble: a number, "mean", or a quantile such as "p95", whose sums mean nothing;
        "all" for every member where a format else has mean and range (geopackage, kepler, office).
    unit : str, optional
        What 1 is in a step, "3.2GB", where the traffic's units are 1; else the unit in which amounts are written, "GB".
    counter, form : str, optional
        The measurement, and the specification "32.435" or "28.532", of 3gpp.
    release : {"1.4", "1.3"}, optional
        Of simu5g.
    capacity : str, optional
        "40Mbit/s": also how often, and how probably, it is exceeded (geotiff, geopackage).
    decimal : {"point", "comma"}, optional
        Of office.
    statistic : {"mean", "peak", "busy_mean"}, optional
        One map of it, of planning.
    announce : callable, optional
        Is told, in a line, of work above a minute before it begins.
    progress : callable, optional
        Is told (done, of).

    Returns
    -------
    Exported
        The path, cells and steps, and what the writer counted: numbers of rows, and sums.

    Raises
    ------
    WrongUse
        For what does not go together.
    BadInput
        For traffic that breaks its schema, or a file that cannot be written.
    """
    from gentraffic.io.export import registry
    from gentraffic.io.export.formats import ExportOptions

    registry.check_export(format, Path(out))
    ds = traffic_of(traffic)
    own = ExportOptions(unit, counter, capacity, form, release, decimal, statistic)
    which = None if member is None else str(member)
    facts = registry.export(
        ds, format, out, own, service=service, member=which, announce=announce or (lambda line: None),
        tell=progress or (lambda done, of: None),
    )  # fmt: skip
    return Exported(Path(out), format, ds.sizes["cell"], ds.sizes["time"], facts)


@contextmanager
def _written(out: str | Path | None, *, gaps: bool = False) -> Iterator[Callable[[xr.Dataset], xr.Dataset]]:
    """A function that writes Traffic ([member,] cell, time) where it is wanted, and returns it.

    That the file can be written is checked before the work. Raises WrongUse, BadInput.
    """
    from gentraffic.io.files import check_writable, write_traffic

    if out is not None:
        check_writable(out)

    def keep(traffic: xr.Dataset) -> xr.Dataset:
        if out is not None:
            write_traffic(traffic, out, gaps=gaps)
        return traffic

    yield keep
