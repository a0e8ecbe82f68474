"""A traffic or context Dataset as CF wants it in a NetCDF file, and back.

In memory, units are what people write (GB per step, messages) and nothing stands there twice. In the file, units are of
UDUNITS (`Gbyte`), times have bounds, a variable `crs` holds the coordinate system, `cell` holds the ids, so that
`sel(cell=...)` of xarray selects by id and never by position, and text and numbers are of types that the classic format
has: characters, 32 bits, double precision. The attribute `cf_added` says which attributes the file has beyond memory.
"""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gentraffic.dataset.schema import COORD_ATTRS

if TYPE_CHECKING:
    import xarray as xr

ADDED = "cf_added"  # global attribute: JSON, variable ("" for the file) -> names of attributes that are not in memory
CONVENTIONS = "CF-1.8, CF-1.9, CF-1.10, CF-1.11"  # the file keeps to each; checkers look for theirs
GIVEN_UNITS, GIVEN_TYPE, GIVEN_CONVENTIONS = "units_as_given", "dtype_as_given", "conventions_as_given"
INDEX, CRS, BOUNDS = "cell", "crs", "time_bnds"  # variables of the file only
EXACT = 2**53  # whole numbers up to here are the same in double precision
LONG_ATTRIBUTE = 60_000  # bytes; HDF5 keeps a longer text of fixed length in no attribute
STEP_S = 3600  # of a file of one step
_PREFIXES = ("", "k", "M", "G", "T", "P", "E")
_VOLUMES = {f"{p}{short}": f"{p}{long}" for p in _PREFIXES for short, long in
            (("B", "byte"), ("byte", "byte"), ("bytes", "byte"), ("bit", "bit"), ("b", "bit"))}  # fmt: skip
_VOLUMES |= {
    f"{p}i{short}": f"{1024**n} {long}"
    for n, p in enumerate(("K", "M", "G", "T", "P", "E"), start=1)
    for short, long in (("B", "byte"), ("bit", "bit"))
}
_RATES = {f"{p}{short}": f"{p}bit/s" for p in _PREFIXES for short in ("bit/s", "bps", "b/s")}
_RATES |= {f"{p}B/s": f"{p}byte/s" for p in _PREFIXES}
_KNOWN = _VOLUMES | _RATES | {name: name for name in ("1", "%", "s", "min", "h", "m", "km", "m2", "W", "kW", "J", "Hz")}


def udunits(units: str) -> str:
    """The units of a variable as UDUNITS knows them: `Gbyte` for GB (which it takes for gigabel), "1" for counts."""
    return _KNOWN.get(units.strip(), "1")


def indexed(ds: xr.Dataset) -> xr.Dataset:
    """`ds` with its ids as the coordinate of the dimension `cell`, by which xarray selects; attributes as they are."""
    import xarray as xr

    ids = ds["cell_id"].values
    about = {"long_name": "identifier of the cell or station, to select by"}
    return ds.assign_coords({INDEX: xr.Variable(("cell",), ids, about)})


class _Annotated:
    """A copy of a Dataset, and what was added to it: variable ("" for the Dataset) -> attributes."""

    def __init__(self, ds: xr.Dataset) -> None:
        self.ds = ds.drop_encoding().copy()
        self.added: dict[str, list[str]] = {}

    def add(self, name: str, **attrs: Any) -> None:
        """Attributes of a variable that has not got them."""
        new = {key: value for key, value in attrs.items() if key not in self.ds[name].attrs}
        self.ds[name].attrs.update(new)
        if new:
            self.added.setdefault(name, []).extend(new)


def to_cf(ds: xr.Dataset) -> xr.Dataset:
    """What the NetCDF file of a checked traffic or context Dataset holds; `from_cf` gives `ds` back."""
    import xarray as xr

    out = _Annotated(ds)
    more = {"title": str(ds.attrs.get("place", "")) or "cellular traffic", "history": _history(ds)}
    more = {key: value for key, value in more.items() if key not in ds.attrs}
    if ds.attrs.get("Conventions", "") != CONVENTIONS:
        more |= {"Conventions": CONVENTIONS, GIVEN_CONVENTIONS: ds.attrs.get("Conventions", "")}
    out.ds = out.ds.assign_attrs(more)
    out.added[""] = [ADDED, *more]
    _narrow_integers(out)
    _describe_coordinates(out)
    crs = _grid_mapping(ds)
    _describe_values(out, crs is not None)
    ids = _index(ds)
    about = {"long_name": "identifier of the cell or station, to select by"}
    about |= {"units": "1"} if ids.dtype.kind in "if" else {}
    out.ds = out.ds.assign_coords({INDEX: xr.Variable(("cell",), ids, about)})
    if crs is not None:
        out.ds = out.ds.assign_coords({CRS: xr.Variable((), np.int32(0), crs)})
    if "time" in out.ds.coords:
        out.add("time", bounds=BOUNDS, units_metadata="leap_seconds: none")
        begins = ds["time"].values
        step = begins[1] - begins[0] if len(begins) > 1 else np.timedelta64(STEP_S, "s")
        out.ds = out.ds.assign_coords({BOUNDS: (("time", "bnds"), np.stack([begins, begins + step], axis=1))})
    attrs = {key: _narrow_number(value) for key, value in out.ds.attrs.items()}
    return out.ds.assign_attrs(attrs | {ADDED: json.dumps(out.added)})


def _narrow_integers(out: _Annotated) -> None:
    """Whole numbers as CF has them, 32 bits at most; ids that do not fit exactly become text."""
    for name in ("cell_id", *(str(n) for n in out.ds.variables if n != "cell_id")):
        if out.ds[name].dtype.kind not in "iu":
            continue
        narrow = _whole_or_text(out.ds[name].values) if name == "cell_id" else _narrow(out.ds[name].values)
        if narrow.dtype != out.ds[name].dtype:
            out.add(name, **{GIVEN_TYPE: str(out.ds[name].dtype)})
            out.ds[name] = (out.ds[name].dims, narrow, out.ds[name].attrs)


def _describe_coordinates(out: _Annotated) -> None:
    """Names and units of the coordinates and of the POI counts."""
    for name in [name for name in COORD_ATTRS if name in out.ds.coords]:
        out.add(name, **COORD_ATTRS[name])
    if "poi_count" in out.ds:
        out.add("poi_count", long_name="points of interest by category")
    for name in [axis for axis in ("x", "y") if axis in out.ds.coords]:  # none of cells without positions
        out.add(name, standard_name=f"projection_{name}_coordinate")
    for name in ("member", "row", "col", "cell_id"):
        if name in out.ds.coords and out.ds[name].dtype.kind in "iuf":
            out.add(name, units="1")


def _describe_values(out: _Annotated, mapped: bool) -> None:
    """Coordinates, units and cell methods of the variables. mapped: there is a grid mapping."""
    for name in map(str, out.ds.data_vars):
        if "cell" not in out.ds[name].dims:
            continue
        per_cell = [str(n) for n in out.ds.coords if out.ds[n].dims == ("cell",) and n != INDEX]
        out.ds[name].attrs["coordinates"] = " ".join(per_cell)  # xarray takes it off when it reads
        if mapped:
            out.add(name, grid_mapping=CRS)
        if "units" in out.ds[name].attrs:
            given = str(out.ds[name].attrs["units"])
            if "time" in out.ds[name].dims:
                out.add(name, cell_methods=f"time: {'sum' if given.strip() in _VOLUMES else 'mean'}")
            if udunits(given) != given:
                out.add(name, **{GIVEN_UNITS: given})
                out.ds[name].attrs["units"] = udunits(given)


def from_cf(ds: xr.Dataset) -> xr.Dataset:
    """The Dataset that `to_cf` was given; one that another program wrote is returned as it is."""
    if ADDED not in ds.attrs:
        return ds
    added: dict[str, list[str]] = json.loads(str(ds.attrs[ADDED]))
    out = ds.drop_vars([name for name in (INDEX, CRS, BOUNDS) if name in ds.variables]).copy()
    for name in map(str, out.variables):
        attrs = out[name].attrs
        given, units = attrs.get(GIVEN_TYPE), attrs.get(GIVEN_UNITS)
        if isinstance(units, str) and udunits(units) == attrs.get("units"):  # else somebody has changed them since
            attrs["units"] = units
        if given is not None and np.dtype(given).kind in "iu":
            values = out[name].astype(given).variable
            out = out.assign_coords({name: values}) if name in out.coords else out.assign({name: values})
        for key in (*added.get(name, []), GIVEN_TYPE, GIVEN_UNITS):
            out[name].attrs.pop(key, None)
    attrs = {key: value for key, value in out.attrs.items() if key not in added.get("", [])}
    given = out.attrs.get(GIVEN_CONVENTIONS)
    out.attrs = ({"Conventions": given} if given else {}) | attrs
    return out


def with_char_attributes(content: bytes | memoryview) -> bytes:
    """A NetCDF-4 file whose attributes of text are characters, as the classic format and CF have them.

    What writes NetCDF through h5py makes text of variable length of them, which other programs read as another type.
    """
    import h5py

    memory = io.BytesIO(content)
    with h5py.File(memory, "r+") as file:
        holders = [file]
        file.visititems(lambda _, member: holders.append(member))
        for holder in holders:
            for key in list(holder.attrs):
                kind = h5py.check_string_dtype(holder.attrs.get_id(key).dtype)
                if kind is None or kind.length is not None or holder.attrs.get_id(key).shape != ():
                    continue
                text = str(holder.attrs[key]).encode()
                if 0 < len(text) < LONG_ATTRIBUTE:
                    holder.attrs.create(key, np.array(text, dtype=h5py.string_dtype("utf-8", len(text))))
    return memory.getvalue()


def _history(ds: xr.Dataset) -> str:
    """A line that says what made the file; without the time of day, so that the same command writes the same bytes."""
    from gentraffic import __version__

    return f"gentraffic {__version__}: {ds.attrs.get('command') or 'written from Python'}"


def _index(ds: xr.Dataset) -> NDArray[Any]:
    """The ids as a coordinate of CF, (cells,): whole numbers where they rise or fall, else text."""
    ids: NDArray[Any] = ds["cell_id"].values
    if ids.dtype.kind not in "iu":
        return ids.astype(object)
    rising = bool((ids[1:] > ids[:-1]).all() or (ids[1:] < ids[:-1]).all())
    return _whole_or_text(ids) if rising else ids.astype(str).astype(object)


def _whole_or_text(ids: NDArray[Any]) -> NDArray[Any]:
    """Whole-number ids, (cells,), as 32 bits where all fit, else as text: never as numbers with a fraction."""
    narrow = _narrow(ids)
    return narrow if narrow.dtype.kind in "iu" and narrow.dtype.itemsize <= 4 else ids.astype(str).astype(object)


def _narrow(values: NDArray[Any]) -> NDArray[Any]:
    """Whole numbers in a type of the classic format, where one holds them: 32 bits, else double precision."""
    if values.dtype.kind not in "iu" or (values.dtype.kind == "i" and values.dtype.itemsize <= 4):
        return values
    if values.size == 0 or (values.min() >= -(2**31) and values.max() < 2**31):
        return values.astype(np.int32)
    exact = int(np.abs(values.astype(object)).max()) <= EXACT  # as objects: the least integer has no opposite
    return values.astype(np.float64) if exact else values


def _narrow_number(value: Any) -> Any:
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        narrow = _narrow(np.asarray(value))
        return narrow.dtype.type(narrow)
    return value


def _grid_mapping(ds: xr.Dataset) -> dict[str, Any] | None:
    """The attributes of a grid mapping of CF, None for a projection that CF has no name for."""
    import pyproj

    if "crs_wkt" not in ds.attrs:  # cells without positions
        return None
    mapping: dict[str, Any] = pyproj.CRS.from_wkt(str(ds.attrs["crs_wkt"])).to_cf()
    if mapping.get("grid_mapping_name", "unknown") == "unknown":
        return None
    return {key: _narrow_number(value) for key, value in mapping.items()}
