"""Files in and out: `gentraffic.read_traffic`, `fetch`, `import_*`, `split`, `export`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gentraffic.api.language import speaks_python

if TYPE_CHECKING:
    import xarray as xr


@speaks_python
def read_traffic(path: str | Path) -> xr.Dataset:
    """The traffic in a file (.nc, .zarr, .parquet, .csv), checked: ([member,] cell, time), float32.

    Raises WrongUse for the suffix, BadInput else.
    """
    from gentraffic.io.files import read_traffic as read

    return read(path)


def traffic_of(given: str | Path | xr.Dataset) -> xr.Dataset:
    """A traffic Dataset that is handed over, or the file of a path, checked. Raises WrongUse, BadInput."""
    from gentraffic.dataset.schema import check_traffic
    from gentraffic.io.files import read_traffic as read

    if isinstance(given, str | Path):
        return read(given)
    check_traffic(given)
    return given


def context_of(given: str | Path | xr.Dataset) -> xr.Dataset:
    """A context Dataset that is handed over, or the file of a path, checked. Raises WrongUse, BadInput."""
    from gentraffic.dataset.schema import check_context
    from gentraffic.io.files import read_context

    if isinstance(given, str | Path):
        return read_context(given)
    check_context(given)
    return given


@speaks_python
def import_uomo(path: str | Path) -> tuple[xr.Dataset, xr.Dataset]:
    """Traffic (cell, time) and context of a file of UoMo patches (.npz, or the upstream JSON). Raises BadInput."""
    from gentraffic.io.importers.uomo import read_uomo

    return read_uomo(path)


@speaks_python
def import_telecom_italia(
    paths: str | Path | Sequence[str | Path],
    *,
    cells: str | Path | None = None,
    service: str | Sequence[str] | None = None,
) -> xr.Dataset:
    """Raw days of the Telecom Italia Big Data Challenge: (cell, time), five services, every 10 minutes.

    cells: the grid of the cells, Milan's unless given. service: which of the five, all unless given. Raises BadInput,
    WrongUse.
    """
    from gentraffic.dataset.services import split_names
    from gentraffic.io.importers.telecom_italia import TELECOM_SERVICES, read_telecom_italia

    files = [Path(path) for path in ([paths] if isinstance(paths, str | Path) else paths)]
    names = split_names(service) or TELECOM_SERVICES
    return read_telecom_italia(files, cells=None if cells is None else Path(cells), services=names)


@speaks_python
def import_table(
    path: str | Path,
    *,
    timezone: str | None = None,
    service: str | None = None,
    unit: str | None = None,
    cells: str | Path | None = None,
    columns: str | None = None,
    id_column: str | None = None,
    decimal: str | None = None,
    thousands: str | None = None,
) -> xr.Dataset:
    """Traffic (cell, time) from a table: CSV, Excel or Parquet with cell, time and a value per service.

    timezone: of times without one. service: what the column `value` holds. unit: "GB", "Mbit/s", or of each service,
    "internet=GB,users=1". cells: where the table has no lon and lat, polygons or a table of stations; without both the
    series have no positions. columns: "id=CELL_NAME,internet=DL_GB". decimal, thousands: "point" or "comma", where
    numbers leave a doubt. Raises WrongUse, BadInput.
    """
    from gentraffic.io.importers.table import read_table
    from gentraffic.io.source_columns import make_reading

    reading = make_reading(columns, id_column, decimal, thousands)
    where = None if cells is None else Path(cells)
    return read_table(path, timezone=timezone, service=service, cells=where, unit=unit, reading=reading)


@speaks_python
def split(
    traffic: str | Path | xr.Dataset, *, test: str | float, by: str = "cell", seed: int = 0
) -> tuple[xr.Dataset, xr.Dataset]:
    """(train, test): two Datasets without a common cell or day whose union is the traffic, bit for bit.

    test: share of the cells, locations or whole local days, "20%" or 0.2. by: "cell" or "location", chosen by seed;
    "time" takes the last local days. Raises WrongUse, BadInput.
    """
    from gentraffic.dataset.splits import split_traffic

    return split_traffic(traffic_of(traffic), test=test, by=by, seed=seed)


@speaks_python
def export(traffic: str | Path | xr.Dataset, form: str, path: str | Path, **options: Any) -> dict[str, Any]:
    """Write traffic ([member,] cell, time) in the format of another tool; returns what was written, counts and sums.

    form: a key of `gentraffic.io.export.registry.FORMATS`, as `gentraffic export --help` lists them. options: service,
    member, unit, counter, capacity and the like, see `gentraffic.io.export.registry.export`.
    Raises WrongUse for what does not go together, BadInput where the file cannot be written.
    """
    from gentraffic.io.export import registry

    registry.check_export(form, Path(path))
    return registry.export(traffic_of(traffic), form, path, **options)
