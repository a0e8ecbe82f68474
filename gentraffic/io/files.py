"""Traffic and context files: what `gentraffic.dataset.schema` describes, on disk and back.

    .nc        NetCDF-4 by the CF conventions, compressed, with checksums: everything
    .zarr      a folder, Zarr 2, chunks of whole cells over all times, with checksums: everything, for large regions
    .parquet   GeoParquet, one row per ([member,] cell, time) with the cell's geometry; attributes in its metadata
    .csv       the same rows without geometry; attributes, x, y and footprints in `NAME.csv-metadata.json` beside it
    .tif       one service and one member of cells on a grid, one band per time step; written, not read

Each is written under a temporary name and renamed, so that a file under its own name is whole.

In memory, units are what people write (GB per step, messages) and nothing stands there twice. In a NetCDF file, units
are of UDUNITS (`Gbyte`), times have bounds, a variable `crs` holds the coordinate system, `cell` holds the ids, so that
`sel(cell=...)` of xarray selects by id and never by position, and text and numbers are of types that the classic format
has: characters, 32 bits, double precision. The attribute `cf_added` says which attributes the file has beyond memory.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gentraffic.dataset.amounts import RELATIVE, is_amount
from gentraffic.dataset.schema import (
    COORD_ATTRS,
    IN_MEMORY,
    Memory,
    blocks,
    check_context,
    check_traffic,
    check_traffic_with_gaps,
    release_pages,
    services,
    with_every_step,
)
from gentraffic.errors import BadInput, WrongUse
from gentraffic.io import atomic
from gentraffic.io.atomic import LISTED, check_seal, check_store, is_sealed, list_store, put_seal
from gentraffic.io.guard import check_arrays, check_regular, reading, reads
from gentraffic.io.hdf5_check import check_in_child

if TYPE_CHECKING:
    import xarray as xr

TRAFFIC_FORMATS = (".nc", ".zarr", ".parquet", ".csv", ".tif")
READABLE = (".nc", ".zarr", ".parquet", ".csv")
CONTEXT_FORMATS = (".nc", ".zarr")
# 2**31 float32 values are 8 GiB: a file that claims more is refused before memory is asked for.
MAX_VALUES = 2**31
UNFINISHED = "unfinished"  # attribute of a store that is being filled: it is no traffic yet
CHUNK_VALUES = {".nc": 2**18, ".zarr": 2**20}  # 1 and 4 MiB of float32
# What the libraries raise on files that are torn, altered or of another kind; found by damaging files byte by byte.
TORN = (OSError, ValueError, TypeError, LookupError, AttributeError, RuntimeError, ArithmeticError, AssertionError)
ADDED = "cf_added"  # global attribute: JSON, variable ("" for the file) -> names of attributes that are not in memory
CONVENTIONS = "CF-1.8, CF-1.9, CF-1.10, CF-1.11"  # the file keeps to each; checkers look for theirs
GIVEN_UNITS, GIVEN_TYPE, GIVEN_CONVENTIONS = "units_as_given", "dtype_as_given", "conventions_as_given"
INDEX, CRS, BOUNDS = "cell", "crs", "time_bnds"  # variables of the file only
_DEGREES = {"degrees_east": "longitude", "degrees_north": "latitude"}
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


def check_writable(
    path: str | Path,
    formats: tuple[str, ...] = TRAFFIC_FORMATS,
    *,
    kind: str = "grid",
    members: int = 1,
    services: int = 1,
) -> None:
    """Raise now what a write to `path` would raise after the work: WrongUse for the suffix, BadInput for the place.

    A GeoTIFF holds one service and one member of cells on a grid: WrongUse otherwise.
    """
    atomic.check_writable(path, formats)
    if Path(path).suffix.lower() == ".tif":
        for count, what in ((members, "members"), (services, "services")):
            if count > 1:
                raise WrongUse(f"{path}: a GeoTIFF holds one of the {count} {what}; write .nc, .zarr, .parquet or .csv")
        if kind == "stations":
            raise WrongUse(f"{path}: stations do not lie on a grid; write .nc, .zarr, .parquet or .csv")


def write_traffic(ds: xr.Dataset, path: str | Path, *, gaps: bool = False) -> None:
    """Check `ds` and write it in the format that the suffix of `path` names, replacing an older file as a whole.

    gaps: NaN may stand for what nobody measured, in .nc and .zarr. Raises WrongUse for the suffix, BadInput where `ds`
    breaks the schema or the file cannot be written.
    """
    members = ds.sizes.get("member", 1)
    check_writable(path, kind=str(ds.attrs.get("kind")), members=members, services=len(services(ds)))
    (check_traffic_with_gaps if gaps else check_traffic)(ds)
    suffix = Path(path).suffix.lower()
    if suffix in (".parquet", ".csv"):
        from gentraffic.io import tables

        (tables.write_parquet if suffix == ".parquet" else tables.write_csv)(ds, path)
    elif suffix == ".tif":
        from gentraffic.io import geotiff as raster

        raster.write_tif(ds, path)
    else:
        _write_arrays(ds, path)


@reads
def read_traffic(path: str | Path) -> xr.Dataset:
    """The traffic Dataset in `path` (.nc, .zarr, .parquet, .csv), loaded and checked.

    Raises WrongUse for the suffix, BadInput, naming the file and what is wrong with it, for all else.
    """
    suffix = _existing(path, READABLE)
    with _whole(path):
        ds = _read_arrays(path) if suffix in (".nc", ".zarr") else _read_table(path, suffix)
        check_traffic(ds)
    return ds


@reads
def open_traffic(path: str | Path) -> xr.Dataset:
    """The traffic Dataset in `path`, its values left on the disk where it is a .zarr, else loaded; not checked.

    Of a store that lists its files all must be there, at their size. Raises BadInput."""
    import xarray as xr

    if Path(path).suffix.lower() != ".zarr":
        return read_traffic(path)
    check_arrays(path)
    try:
        check_store(Path(path), chunks=False)
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from None
    # the index is taken off a store of ours, and xarray would hold it in memory first
    index = [INDEX] if atomic.says_listed(Path(path)) else []
    options: dict[str, Any] = {"backend_kwargs": {"consolidated": True}, "drop_variables": index}
    return as_in_memory(xr.open_dataset(path, engine="zarr", chunks=None, **options))


def check_chunks(path: Path, service: str) -> bool:
    """Whether every chunk of a service of a store is there and unfolds to numbers; the checksums are Zstandard's."""
    import zarr

    try:
        array = zarr.open_array(str(path / service), mode="r")
        for starts in np.ndindex(array.cdata_shape):
            at = tuple(slice(i * n, (i + 1) * n) for i, n in zip(starts, array.chunks, strict=True))
            if not np.isfinite(np.asarray(array[at])).all():
                return False
    except TORN:
        return False
    return True


@reads
def read_traffic_with_gaps(path: str | Path) -> xr.Dataset:
    """As `read_traffic`, but NaN may stand for what nobody measured, and steps may be absent; some value there is."""
    suffix = _existing(path, READABLE)
    with _whole(path):
        ds = with_every_step(_read_arrays(path) if suffix in (".nc", ".zarr") else _read_table(path, suffix))
        check_traffic_with_gaps(ds)
    return ds


def write_context(ds: xr.Dataset, path: str | Path) -> None:
    """Check `ds` and write it as .nc or .zarr, replacing an older file as a whole. Raises as `write_traffic`."""
    check_writable(path, CONTEXT_FORMATS)
    check_context(ds)
    _write_arrays(ds, path)


def read_context(path: str | Path, store: Memory = IN_MEMORY) -> xr.Dataset:
    """The context Dataset in `path` (.nc, .zarr), loaded and checked. Raises as `read_traffic`.

    store: where the numbers of its cells lie.
    """
    with reading(path):
        _existing(path, CONTEXT_FORMATS)
        with _whole(path):
            ds = _read_arrays(path, store)
            check_context(ds)
    return ds


def read_own_context(path: Path) -> xr.Dataset:
    """A context that comes with the package, whose SHA-256 is checked and no more: it was checked when it was made.

    Raises BadInput."""
    with _whole(path):
        return _read_arrays(path)


def cells_per_chunk(steps: int, suffix: str = ".zarr") -> int:
    """How many whole cells one chunk holds, a power of two.

    Whoever writes a store by regions must write whole multiples of it: two writers in one chunk lose cells silently.
    """
    return int(2 ** np.floor(np.log2(max(1, CHUNK_VALUES[suffix] // steps))))


def _existing(path: str | Path, formats: tuple[str, ...]) -> str:
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in formats:
        raise WrongUse(f"{path}: suffix {suffix!r} cannot be read; it names the format, one of {' '.join(formats)}")
    atomic.recover(path)
    if not path.exists():
        raise BadInput(f"{path}: no such file")
    if (suffix == ".zarr") != path.is_dir():
        raise BadInput(f"{path}: {'a Zarr store is a folder' if suffix == '.zarr' else 'is a folder, not a file'}")
    check_regular(path)
    if suffix == ".nc" and not is_sealed(path):
        check_in_child(path)
    if suffix in (".nc", ".zarr"):
        check_arrays(path)
    return suffix


@contextmanager
def _whole(path: str | Path) -> Iterator[None]:
    """What reading and checking raise, as BadInput that names the file."""
    try:
        yield
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from None
    except MemoryError:
        raise BadInput(f"{path}: does not fit into memory") from None
    except TORN as error:
        reason = (str(error).splitlines() or [""])[0][:200] or type(error).__name__
        raise BadInput(f"{path}: torn, altered or not of this format ({reason})") from error


def _read_table(path: str | Path, suffix: str) -> xr.Dataset:
    from gentraffic.io import tables

    return (tables.read_parquet if suffix == ".parquet" else tables.read_csv)(path, MAX_VALUES)


def _write_arrays(ds: xr.Dataset, path: str | Path) -> None:
    suffix = Path(path).suffix.lower()
    clean = to_cf(ds) if suffix == ".nc" else indexed(ds.drop_encoding())
    encoding = encoding_of(clean, suffix)
    if suffix == ".nc":
        # On a full disk the HDF5 library crashes the process: it writes to memory, and Python to the disk.
        content = with_char_attributes(clean.to_netcdf(engine="h5netcdf", encoding=encoding))
        with atomic.replacing(path, (suffix,)) as temporary:
            temporary.write_bytes(content)
            put_seal(temporary)
    else:
        with atomic.replacing(path, (suffix,), folder=True) as temporary:
            clean.to_zarr(temporary, mode="w", zarr_format=2, consolidated=True, encoding=encoding)
            list_store(temporary)


def encoding_of(ds: xr.Dataset, suffix: str, chunk: int | None = None) -> dict[Any, dict[str, Any]]:
    """How each variable is packed in .nc or .zarr; chunk: cells per chunk where not the usual."""
    pack: dict[str, Any] = {"zlib": True, "complevel": 1, "shuffle": True, "fletcher32": True}
    if suffix == ".zarr":
        import numcodecs

        pack = {"compressors": [numcodecs.Zstd(level=1, checksum=True)]}
    cells = min(chunk or cells_per_chunk(ds.sizes.get("time", 1), suffix), ds.sizes["cell"])
    encoding: dict[Any, dict[str, Any]] = {}
    for name, variable in ds.variables.items():
        if variable.dtype.kind in "OUT":
            # NetCDF: characters, which the classic format has and HDF5 compresses; text without any has no length
            chars = suffix == ".nc" and any(map(len, map(str, variable.values.ravel())))
            encoding[name] = pack | ({"dtype": "S1"} if chars else {}) if suffix == ".zarr" or chars else {}
        elif name in ds.data_vars:
            # The fill of floats stays NaN: a chunk that was never written must not read as no traffic.
            chunks = tuple({"member": 1, "cell": cells}.get(str(dim), ds.sizes[dim]) for dim in variable.dims)
            encoding[name] = {**pack, ("chunks" if suffix == ".zarr" else "chunksizes"): chunks}
        else:
            encoding[name] = {"_FillValue": None} if variable.ndim == 0 else {**pack, "_FillValue": None}
    whole = {"units": "seconds since 1970-01-01", "calendar": "standard"}
    for name in ("time", BOUNDS):
        if name in ds.variables:
            encoding[name] |= whole | {"dtype": "float64" if suffix == ".nc" else "int64"}  # both hold whole seconds
    return encoding


def _read_arrays(path: str | Path, store: Memory = IN_MEMORY) -> xr.Dataset:
    import xarray as xr

    options: dict[str, Any] = {"engine": "h5netcdf", "backend_kwargs": {"phony_dims": "access"}}
    if Path(path).suffix.lower() == ".zarr":
        check_store(Path(path))
        options = {"engine": "zarr", "backend_kwargs": {"consolidated": Path(path, ".zmetadata").is_file()}}
    else:
        check_seal(path)
    with ExitStack() as stack:
        opened = stack.enter_context(xr.open_dataset(path, chunks=None, cache=store is IN_MEMORY, **options))
        values = sum(variable.size for variable in opened.variables.values())
        if values > MAX_VALUES:
            raise BadInput(f"holds {values:.3g} values, more than the {MAX_VALUES:.3g} that are read at once")
        if UNFINISHED in opened.attrs:
            raise BadInput(f"unfinished: {opened.attrs[UNFINISHED]}")
        if store is IN_MEMORY:
            return as_in_memory(opened.load())
        ds = as_in_memory(opened)
        for name, variable in ds.variables.items():
            if variable.dims[:1] == ("cell",) and variable.dtype.kind in "iuf":
                ds[name] = (variable.dims, _kept(str(name), variable, store), variable.attrs)
        return ds.load()


def _kept(name: str, variable: xr.Variable, store: Memory) -> NDArray[Any]:
    """The numbers of a variable in a store, read block by block."""
    out = store.zeros(name, variable.shape, variable.dtype)
    for rows in blocks(len(out)):
        out[rows] = variable[rows].to_numpy()
        release_pages(out)
    return out


def as_in_memory(ds: xr.Dataset) -> xr.Dataset:
    """What a file of ours holds, as `xarray.open_dataset` gives it, without what CF adds to it; others as they are."""
    ds = _with_whole_text(ds)
    ds = from_cf(ds).copy()
    if LISTED in ds.attrs:
        ds = ds.drop_vars(INDEX, errors="ignore")
        ds.attrs = {name: value for name, value in ds.attrs.items() if name != LISTED}
    for name, variable in ds.variables.items():
        if variable.dtype.kind in "UT":  # one dtype for text, whatever the library made of it
            ds[name] = ds[name].astype(object)
        elif variable.dtype.kind == "M":
            ds[name] = ds[name].astype("datetime64[ns]")
    return ds.drop_encoding()


def _with_whole_text(ds: xr.Dataset) -> xr.Dataset:
    """`ds` with attributes of text as they were written.

    A file of the classic model (`NETCDF4_CLASSIC`) says that its characters are ASCII; h5netcdf keeps the bytes of
    others, which are UTF-8 in files of this project, as lone surrogates, which no text may hold."""

    def whole(attrs: Mapping[Any, Any]) -> dict[Any, Any]:
        return {key: _from_bytes(value) if isinstance(value, str) else value for key, value in attrs.items()}

    ds = ds.assign_attrs(whole(ds.attrs))
    for variable in ds.variables.values():
        variable.attrs = whole(variable.attrs)
    return ds


def _from_bytes(text: str) -> str:
    """A text whose bytes h5netcdf kept as surrogates, as UTF-8, else as Latin-1."""
    if text.isascii() or not any("\udc80" <= letter <= "\udcff" for letter in text):
        return text
    kept = text.encode("utf-8", "surrogateescape")
    try:
        return kept.decode("utf-8")
    except UnicodeDecodeError:
        return kept.decode("latin-1")


# --- NetCDF by the CF conventions -------------------------------------------------------------------------------------


def udunits(units: str) -> str:
    """The units of a variable as UDUNITS knows them: `Gbyte` for GB (which it takes for gigabel), "1" for counts."""
    return _KNOWN.get(units.strip(), "1")


def indexed(ds: xr.Dataset) -> xr.Dataset:
    """`ds` with its ids as the coordinate of the dimension `cell`, by which xarray selects; attributes as they are.

    Without the index in memory, which only reading makes."""
    import xarray as xr

    about = {"long_name": "identifier of the cell or station, to select by"}
    ids = xr.Variable(("cell",), ds["cell_id"].variable.data, about)
    return ds.assign_coords(xr.Coordinates({INDEX: ids}, indexes={}))


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
    if "category" in out.ds.coords:
        out.add("category", long_name="category of points of interest")
    for name, units in (("azimuth", "degree"), ("height", "m")):  # as COORD_ATTRS has it in words
        if name in out.ds.coords and out.ds[name].dtype.kind in "iuf":
            out.add(name, units=units)
    for name in map(str, out.ds.variables):  # such as where the names of a map stand
        degrees = _DEGREES.get(str(out.ds[name].attrs.get("units")))
        if degrees is not None:
            out.add(name, standard_name=degrees, long_name=degrees)
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
                out.add(name, cell_methods=f"time: {'sum' if given != RELATIVE and is_amount(given) else 'mean'}")
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
        return np.int32(value) if -(2**31) <= value < 2**31 else np.int64(value)  # such as a seed from a clock
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
