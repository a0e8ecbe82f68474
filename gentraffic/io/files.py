"""Traffic and context files: what `gentraffic.dataset.schema` describes, on disk and back.

    .nc        NetCDF-4, compressed, with checksums: everything
    .zarr      a folder, Zarr 2, chunks of whole cells over all times, with checksums: everything, for large regions
    .parquet   GeoParquet, one row per ([member,] cell, time) with the cell's geometry; attributes in its metadata
    .csv       the same rows without geometry; attributes, x, y and footprints in `NAME.csv-metadata.json` beside it
    .tif       one service and one member of cells on a grid, one band per time step; written, not read

Each is written under a temporary name and renamed, so that a file under its own name is whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gentraffic.dataset.schema import check_context, check_traffic, services
from gentraffic.errors import BadInput, WrongUse
from gentraffic.io import atomic, cf
from gentraffic.io.atomic import LISTED, check_seal, check_store, list_store, put_seal
from gentraffic.io.guard import check_arrays, check_regular, reading, reads

if TYPE_CHECKING:
    import xarray as xr

TRAFFIC_FORMATS = (".nc", ".zarr", ".parquet", ".csv", ".tif")
READABLE = (".nc", ".zarr", ".parquet", ".csv")
CONTEXT_FORMATS = (".nc", ".zarr")
# 2**31 float32 values are 8 GiB: a file that claims more is refused before memory is asked for.
MAX_VALUES = 2**31
LARGE_VALUES = 2**20  # from here on what is not to be held is not
UNFINISHED = "unfinished"  # attribute of a store that is being filled: it is no traffic yet
CHUNK_VALUES = {".nc": 2**18, ".zarr": 2**20}  # 1 and 4 MiB of float32
# What the libraries raise on files that are torn, altered or of another kind; found by damaging files byte by byte.
TORN = (OSError, ValueError, TypeError, LookupError, AttributeError, RuntimeError, ArithmeticError, AssertionError)


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


def write_traffic(ds: xr.Dataset, path: str | Path) -> None:
    """Check `ds` and write it in the format that the suffix of `path` names, replacing an older file as a whole.

    Raises WrongUse for the suffix, BadInput where `ds` breaks the schema or the file cannot be written.
    """
    members = ds.sizes.get("member", 1)
    check_writable(path, kind=str(ds.attrs.get("kind")), members=members, services=len(services(ds)))
    check_traffic(ds)
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
    return as_in_memory(xr.open_dataset(path, engine="zarr", chunks=None, backend_kwargs={"consolidated": True}))


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
    """As `read_traffic`, but NaN may stand for what nobody measured; some value there must be."""
    suffix = _existing(path, READABLE)
    with _whole(path):
        ds = _read_arrays(path) if suffix in (".nc", ".zarr") else _read_table(path, suffix)
        check_traffic_with_gaps(ds)
    return ds


def check_traffic_with_gaps(ds: xr.Dataset) -> None:
    """As `check_traffic`, but NaN may stand for what nobody measured; some value of each service there must be."""
    whole = ds.fillna(0.0)
    check_traffic(whole.assign({n: v.astype(np.float32).assign_attrs(ds[n].attrs) for n, v in whole.items()}))
    for name in ds.data_vars:
        if ds[name].isnull().all():
            raise BadInput(f"{name} holds nothing but NaN: at least one value must be known")


def write_context(ds: xr.Dataset, path: str | Path) -> None:
    """Check `ds` and write it as .nc or .zarr, replacing an older file as a whole. Raises as `write_traffic`."""
    check_writable(path, CONTEXT_FORMATS)
    check_context(ds)
    _write_arrays(ds, path)


def read_context(path: str | Path, *, held: bool = True) -> xr.Dataset:
    """The context Dataset in `path` (.nc, .zarr), loaded and checked. Raises as `read_traffic`.

    held: False leaves the numbers of a large region in the file, from which each use reads them again.
    """
    with reading(path):
        _existing(path, CONTEXT_FORMATS)
        with _whole(path):
            ds = _read_arrays(path, held=held)
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
    if suffix in (".nc", ".zarr"):
        check_arrays(path)
    else:
        check_regular(path)
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
    clean = cf.to_cf(ds) if suffix == ".nc" else cf.indexed(ds.drop_encoding())
    encoding = encoding_of(clean, suffix)
    if suffix == ".nc":
        # On a full disk the HDF5 library crashes the process: it writes to memory, and Python to the disk.
        content = cf.with_char_attributes(clean.to_netcdf(engine="h5netcdf", encoding=encoding))
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
    for name in ("time", cf.BOUNDS):
        if name in ds.variables:
            encoding[name] |= whole | {"dtype": "float64" if suffix == ".nc" else "int64"}  # both hold whole seconds
    return encoding


def _read_arrays(path: str | Path, *, held: bool = True) -> xr.Dataset:
    import xarray as xr

    options: dict[str, Any] = {"engine": "h5netcdf", "backend_kwargs": {"phony_dims": "access"}}
    if Path(path).suffix.lower() == ".zarr":
        check_store(Path(path))
        options = {"engine": "zarr", "backend_kwargs": {"consolidated": Path(path, ".zmetadata").is_file()}}
    else:
        check_seal(path)
    with ExitStack() as stack:
        opened = stack.enter_context(xr.open_dataset(path, chunks=None, cache=held, **options))
        values = sum(variable.size for variable in opened.variables.values())
        if values > MAX_VALUES:
            raise BadInput(f"holds {values:.3g} values, more than the {MAX_VALUES:.3g} that are read at once")
        if UNFINISHED in opened.attrs:
            raise BadInput(f"unfinished: {opened.attrs[UNFINISHED]}")
        if held or values < LARGE_VALUES:
            return as_in_memory(opened.load())
        for variable in opened.variables.values():
            variable.to_numpy()  # what is torn is said here, not in the middle of the work
        stack.pop_all()  # the file stays open for as long as the Dataset is there
        return as_in_memory(opened)


def as_in_memory(ds: xr.Dataset) -> xr.Dataset:
    """What a file of ours holds, as `xarray.open_dataset` gives it, without what CF adds to it; others as they are."""
    ds = cf.from_cf(ds).copy()
    if LISTED in ds.attrs:
        ds = ds.drop_vars(cf.INDEX, errors="ignore")
        ds.attrs = {name: value for name, value in ds.attrs.items() if name != LISTED}
    for name, variable in ds.variables.items():
        if variable.dtype.kind in "UT":  # one dtype for text, whatever the library made of it
            ds[name] = ds[name].astype(object)
        elif variable.dtype.kind == "M":
            ds[name] = ds[name].astype("datetime64[ns]")
    return ds.drop_encoding()
