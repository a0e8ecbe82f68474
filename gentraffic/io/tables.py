"""Traffic as long tables, one row per ([member,] cell, time): GeoParquet and CSV.

Columns: `member` (where there are several), `cell`, `time` (UTC), one per service, then the per-cell coordinates. Rows
run through the times of a cell, the cells of a member, the members; blocks of whole cells bound the memory.
"""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gentraffic.dataset.build import plain_text
from gentraffic.dataset.geometry import cell_shapes, footprint_text
from gentraffic.dataset.schema import MAP_VARIABLES, MAX_POINTS, has_positions, services
from gentraffic.errors import BadInput
from gentraffic.io.atomic import replacing, seal_of
from poi.safety import check_row_groups

if TYPE_CHECKING:
    import pyarrow as pa
    import xarray as xr

ROWS_PER_BLOCK = 2**18
KEY = "gentraffic"  # of the attributes, in Parquet's metadata and in the notes of CSVW
FORMAT = 2  # since then notes have a seal, and the notes of Parquet a hash of the values; files of 1 are read
IN_NOTES = ("x", "y", "footprint")  # of those per cell: in the rows of a CSV they would triple its size
SIDECAR = "-metadata.json"  # where "CSV on the Web" (W3C, 2015) looks for what a CSV cannot say


def write_parquet(ds: xr.Dataset, path: str | Path) -> None:
    """Write checked traffic as GeoParquet 1.1: polygons, or points for stations, in EPSG:4326, WKB.

    Without positions it is plain Parquet.
    """
    import pyarrow.parquet as pq
    import pyproj
    import shapely

    placed = has_positions(ds)
    shapes = cell_shapes(ds) if placed else np.empty(0, dtype=object)
    geo: dict[str, Any] = {}
    if placed:
        geo = {
            "version": "1.1.0",
            "primary_column": "geometry",
            "columns": {
                "geometry": {
                    "encoding": "WKB",
                    "geometry_types": sorted({shape.geom_type for shape in shapes}),
                    "crs": pyproj.CRS("EPSG:4326").to_json_dict(),
                    "bbox": [float(v) for v in shapely.total_bounds(shapes)],
                }
            },
        }
    names = [name for name in _per_cell(ds) if name != "footprint"]  # it is the geometry
    wkb = np.asarray(shapely.to_wkb(shapes), dtype=object)
    notes = _notes(ds) | {"values_sha256": _values_sha256(ds)}
    notes["seal"] = seal_of([notes, geo])
    metadata = ({"geo": json.dumps(geo)} if placed else {}) | {KEY: json.dumps(notes)}
    blocks = _blocks(ds, names, {"geometry": wkb} if placed else {})
    first = next(blocks)
    # Without Arrow's own schema every reader sees plain columns, not dictionaries.
    options: dict[str, Any] = {"compression": "zstd", "store_schema": False, "write_page_checksum": True}
    with replacing(path, (".parquet",)) as temporary, pq.ParquetWriter(temporary, first.schema, **options) as writer:
        writer.add_key_value_metadata(metadata)
        for block in chain([first], blocks):
            writer.write_table(block, row_group_size=block.num_rows)


def read_parquet(path: str | Path, max_values: int) -> xr.Dataset:
    """Traffic from a GeoParquet file that `write_parquet` wrote; rows may have been reordered."""
    import pyarrow.parquet as pq
    import shapely

    whole_metadata = pq.read_metadata(path)
    check_row_groups(whole_metadata, str(path))
    metadata = whole_metadata.metadata or {}
    notes = _parse_notes(metadata.get(KEY.encode()))
    _check_sealed(notes, lambda whole: [whole, json.loads(metadata.get(b"geo", b"{}"))])
    repeated = [name for name in whole_metadata.schema.names if name == "geometry"]  # none without positions
    with pq.ParquetFile(path, page_checksum_verification=True, read_dictionary=repeated) as file:
        _cap(file.metadata.num_rows * file.metadata.num_columns, max_values)

        def column(name: str) -> pa.ChunkedArray:
            return file.read(columns=[name], use_threads=False)[name]

        ds, first = _pivot(file.schema_arrow.names, column, notes)
        if notes["footprint"]:
            outlines = column("geometry").take(first).combine_chunks().dictionary_decode()
            texts = footprint_text(shapely.from_wkb(outlines.to_numpy(zero_copy_only=False)))
            ds = ds.assign_coords(footprint=("cell", texts))
    if notes.get("values_sha256", "") not in ("", _values_sha256(ds)):
        raise BadInput("has changed since it was written; `gentraffic import table` reads any table")
    return _restore_attrs(ds, notes)


def write_csv(ds: xr.Dataset, path: str | Path) -> None:
    """Write checked traffic as plain CSV, and beside it `NAME.csv-metadata.json` with all that the rows do not hold."""
    import pyarrow.csv as pc

    path = Path(path)
    names = [name for name in _per_cell(ds) if name not in IN_NOTES]
    notes = _notes(ds)
    notes["cells"] = {name: ds[name].values.tolist() for name in _per_cell(ds) if name in IN_NOTES}
    blocks = map(_as_texts, _blocks(ds, names, {}))
    first = next(blocks)
    columns = [{"name": field.name, "datatype": _CSVW_TYPES.get(str(field.type), "string")} for field in first.schema]
    columns[first.schema.get_field_index("time")]["datatype"] = "dateTime"
    with replacing(path, (".csv",)) as temporary:
        with pc.CSVWriter(temporary, first.schema, write_options=pc.WriteOptions(quoting_style="needed")) as writer:
            for block in chain([first], blocks):
                writer.write_table(block)
        with temporary.open("rb") as stream:
            notes["sha256"] = hashlib.file_digest(stream, "sha256").hexdigest()
        sidecar = {
            "@context": "http://www.w3.org/ns/csvw",
            "url": plain_text(path.name),
            "tableSchema": {"columns": columns},
            "notes": [{KEY: notes}],
        }
        notes["seal"] = seal_of(sidecar)
        # The notes go first: a CSV beside notes that do not fit it is refused by its hash.
        with replacing(path.with_name(path.name + SIDECAR), (".json",)) as beside:
            beside.write_text(json.dumps(sidecar, ensure_ascii=False), encoding="utf-8")


def read_csv(path: str | Path, max_values: int) -> xr.Dataset:
    """Traffic from a CSV file that `write_csv` wrote, with its notes beside it."""
    import pyarrow as pa
    import pyarrow.csv as pc

    path = Path(path)
    beside = path.with_name(path.name + SIDECAR)
    if not beside.is_file():
        raise BadInput(f"has no {beside.name} beside it; `gentraffic import table` reads any CSV")
    _cap(path.stat().st_size // 2, max_values)  # a value takes two bytes at least
    sidecar = json.loads(beside.read_text(encoding="utf-8"))
    notes = _parse_notes(json.dumps(sidecar["notes"][0][KEY]))
    _check_sealed(notes, lambda whole: sidecar | {"notes": [{KEY: whole}]}, f"{beside.name} ")
    with path.open("rb") as stream:
        if hashlib.file_digest(stream, "sha256").hexdigest() != notes["sha256"]:
            raise BadInput(f"has changed since {beside.name} was written; `gentraffic import table` reads any CSV")
    types: dict[str, Any] = {name: pa.float32() for name in notes["services"]}
    types |= {"member": pa.int32(), "row": pa.int32(), "col": pa.int32(), "time": pa.timestamp("s", "UTC")}
    types |= {"lon": pa.float64(), "lat": pa.float64(), "cell": pa.string() if notes["text_ids"] else pa.int64()}
    for name in notes["variables"]:  # text stays text: a band 1800, or a site 007
        kind = notes["dtypes"].get(name)
        types.setdefault(name, pa.string() if kind is None else pa.from_numpy_dtype(np.dtype(kind)))
    table = pc.read_csv(path, convert_options=pc.ConvertOptions(column_types=types, strings_can_be_null=False))
    ds, _ = _pivot(table.column_names, table.column, notes)
    for name, column in notes["cells"].items():
        ds = ds.assign_coords({name: ("cell", np.asarray(column, dtype=notes["dtypes"].get(name, object)))})
    return _restore_attrs(ds, notes)


_CSVW_TYPES = {"int64": "integer", "int32": "integer", "float": "float", "double": "double"}


def _per_cell(ds: xr.Dataset) -> list[str]:
    return [str(name) for name in ds.coords if ds[name].dims == ("cell",) and name not in ("cell_id", "cell")]


def _notes(ds: xr.Dataset) -> dict[str, Any]:
    def plain(attrs: Any) -> dict[str, Any]:
        return {str(k): v.item() if isinstance(v, np.generic) else v for k, v in attrs.items()}

    return {
        "format": FORMAT,
        "services": services(ds),
        "text_ids": ds["cell_id"].dtype.kind not in "iu",
        "footprint": "footprint" in ds.coords,
        "attrs": plain(ds.attrs),
        "variables": {str(name): plain(variable.attrs) for name, variable in ds.variables.items()},
        "dtypes": {name: str(ds[name].dtype) for name in _per_cell(ds) if ds[name].dtype.kind in "iuf"},
        **({"map": of_map} if (of_map := _packed_map(ds)) else {}),
    }


def _packed_map(ds: xr.Dataset) -> dict[str, Any]:
    """The map beneath (`dataset.basemap`): name -> dtype, and base64 of zlib of its bytes; names of places as text."""
    packed: dict[str, Any] = {}
    for name in (name for name in MAP_VARIABLES if name in ds.coords):
        values = ds[name].values
        if values.dtype.kind in "iuf":
            raw = zlib.compress(np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes())
            packed[name] = [values.dtype.newbyteorder("<").str, len(values), base64.b64encode(raw).decode()]
        else:
            packed[name] = list(map(str, values))
    return packed


def _unpacked_map(packed: dict[str, Any]) -> dict[str, Any]:
    """The coordinates that `_packed_map` was given. Raises BadInput where an array is not as long as it says."""
    variables: dict[str, Any] = {}
    for name, dim in MAP_VARIABLES.items():
        if name == "map_name" and name in packed:
            variables[name] = (dim, np.asarray(list(map(str, packed[name])), dtype=object))
        elif name in packed:
            kind, count, text = packed[name]
            dtype = np.dtype(kind)
            unfold = zlib.decompressobj()
            raw = unfold.decompress(base64.b64decode(text), dtype.itemsize * min(int(count), MAX_POINTS) + 1)
            if dtype.kind not in "iuf" or len(raw) != dtype.itemsize * count:
                raise BadInput(f"{name} is not as long as it says: damaged or changed; write the file again")
            variables[name] = (dim, np.frombuffer(raw, dtype=dtype).astype(dtype.newbyteorder("=")))
    return variables


def _parse_notes(text: str | bytes | None) -> dict[str, Any]:
    if text is None:
        raise BadInput("was not written by gentraffic; `gentraffic import table` reads any table")
    notes: dict[str, Any] = json.loads(text)
    if notes["format"] not in (1, FORMAT):
        raise BadInput(f"is of format {notes['format']}, this version of gentraffic reads {FORMAT}")
    return notes


def _check_sealed(notes: dict[str, Any], whole: Callable[[dict[str, Any]], Any], what: str = "its metadata ") -> None:
    """Raise BadInput unless the seal of notes fits what it was made of: `whole` of the notes without it."""
    seal = notes.get("seal")
    if seal is None and notes["format"] == 1:
        return
    if seal != seal_of(whole({key: value for key, value in notes.items() if key != "seal"})):
        raise BadInput(f"{what}does not have its own SHA-256: damaged or changed; write the file again")


def _values_sha256(ds: xr.Dataset) -> str:
    """The hash of what the rows of a table hold, in whatever order they stand: cells by id, times, values, places."""
    import shapely

    ids = ds["cell_id"].values
    order = np.argsort(ids.astype(str), kind="stable")
    sha = hashlib.sha256("\0".join(ids[order].astype(str)).encode())
    sha.update(ds["time"].values.astype("datetime64[s]").astype("<i8").tobytes())
    if "member" in ds.coords:
        sha.update(ds["member"].values.astype("<i4").tobytes())
    for name in sorted(services(ds)):
        sha.update(name.encode())
        for member in ds[name].values.reshape(-1, ds.sizes["cell"], ds.sizes["time"]):
            for start in range(0, len(order), 1024):
                sha.update(np.ascontiguousarray(member[order[start : start + 1024]], dtype="<f4").tobytes())
    for name in sorted(_per_cell(ds)):
        column = ds[name].values[order]
        if name == "footprint":  # kept as geometry: as it comes back
            column = footprint_text(shapely.from_wkt(column.astype(object)))
        plain = column.dtype.kind in "iuf"
        sha.update(name.encode())
        sha.update(np.ascontiguousarray(column).tobytes() if plain else "\0".join(map(str, column)).encode())
    return sha.hexdigest()


def _cap(values: int, max_values: int) -> None:
    if values > max_values:
        raise BadInput(f"holds about {values:.3g} values, more than the {max_values:.3g} that are read at once")


def _blocks(ds: xr.Dataset, names: list[str], extra: dict[str, Any]) -> Iterator[pa.Table]:
    """Tables of whole cells; what repeats within a cell is a dictionary, so it takes an index per row, not a value."""
    import pyarrow as pa

    steps, cells = ds.sizes["time"], ds.sizes["cell"]
    times = pa.array(ds["time"].values.astype("datetime64[s]")).cast(pa.timestamp("s", "UTC"))
    ids = ds["cell_id"].values
    per_cell: dict[str, Any] = {"cell": ids.astype(np.int64) if ids.dtype.kind in "iu" else ids.astype(object)}
    per_cell |= {name: ds[name].values for name in names} | extra
    width = max(1, ROWS_PER_BLOCK // steps)
    members = ds["member"].values if "member" in ds.dims else [None]
    for m, member in enumerate(members):
        for start in range(0, cells, width):
            stop = min(start + width, cells)
            of_cell = pa.array(np.repeat(np.arange(stop - start, dtype=np.int32), steps))
            of_time = pa.array(np.tile(np.arange(steps, dtype=np.int32), stop - start))
            repeated = {
                name: pa.DictionaryArray.from_arrays(of_cell, pa.array(column[start:stop])).dictionary_decode()
                if name not in ("geometry", "footprint")
                else pa.DictionaryArray.from_arrays(of_cell, pa.array(column[start:stop]))
                for name, column in per_cell.items()
            }
            columns = {} if member is None else {"member": pa.array(np.full(len(of_cell), member, dtype=np.int32))}
            columns |= {"cell": repeated.pop("cell"), "time": times.take(of_time)}
            for service in services(ds):
                block = ds[service].values[m, start:stop] if member is not None else ds[service].values[start:stop]
                columns[service] = pa.array(np.ascontiguousarray(block).reshape(-1))
            yield pa.table(columns | repeated)


def _as_texts(block: pa.Table) -> pa.Table:
    """A block as text has it: times of ISO 8601, float32 in `ten_digits`."""
    import pyarrow as pa
    import pyarrow.compute as pc

    text = pc.strftime(block["time"], format="%Y-%m-%dT%H:%M:%SZ")
    block = block.set_column(block.schema.get_field_index("time"), "time", text)
    for i, field in enumerate(block.schema):
        if field.type == pa.float32():
            block = block.set_column(i, field.name, pa.array(ten_digits(block.column(i).to_numpy())))
    return block


def ten_digits(values: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Doubles of ten significant digits. values: (any shape) float32 -> the same shape.

    As text they read back as the same float32, and, read as doubles, sum to what they were to 1e-9: the seven or eight
    digits that a float32 needs do not.
    """
    exact = values.astype(np.float64)
    with np.errstate(divide="ignore"):
        power = np.where(exact > 0, 9 - np.floor(np.log10(exact)), 0.0)
    up, down = 10.0 ** np.maximum(power, 0), 10.0 ** np.maximum(-power, 0)
    return np.where((power <= 22) & (power >= -22), np.rint(exact * up / down) / up * down, exact)


def _pivot(
    names: list[str], column: Callable[[str], pa.ChunkedArray], notes: dict[str, Any]
) -> tuple[xr.Dataset, NDArray[np.intp]]:
    """The Dataset, without attributes, and the row at which each cell appears first, (cells,).

    `column` reads one column at a time, so that memory holds few of them at once.
    """
    import pandas as pd
    import xarray as xr

    of_cell, ids = _codes(column("cell"))
    of_time, times = pd.factorize(column("time").to_numpy(), sort=True)
    members = np.zeros(1)
    at: NDArray[np.int64] = of_cell.astype(np.int64) * len(times) + of_time
    if "member" in names:
        of_member, members = pd.factorize(column("member").to_numpy(), sort=True)
        at += of_member * (len(ids) * len(times))
        del of_member
    first = np.unique(of_cell, return_index=True)[1]
    del of_cell, of_time
    shape = (len(members), len(ids), len(times))
    seen = np.zeros(len(at), dtype=bool)
    seen[at[at < len(at)]] = True
    if len(at) != np.prod(shape) or not seen.all():
        raise BadInput(
            f"has {len(at)} rows, needs one for each of {shape[0]} members x {shape[1]} cells x {shape[2]} times"
        )
    dims = ("member", "cell", "time") if "member" in names else ("cell", "time")
    ds = xr.Dataset(
        coords={
            "cell_id": ("cell", ids.astype(object if notes["text_ids"] else np.int64)),
            "time": ("time", np.asarray(times).astype("datetime64[ns]")),
        }
    )
    if "member" in names:
        ds = ds.assign_coords(member=("member", np.asarray(members, dtype=np.int32)))
    for name in names:
        if name in notes["services"]:
            values = np.empty(len(at), dtype=np.float32)
            values[at] = column(name).to_numpy()
            ds[name] = (dims, values.reshape(shape[-len(dims) :]))
        elif name not in ("member", "cell", "time", "geometry"):
            kept = column(name).take(first).to_numpy()
            ds = ds.assign_coords({name: ("cell", kept.astype(notes["dtypes"].get(name, object)))})
    return ds, first


def _codes(ids: pa.ChunkedArray) -> tuple[NDArray[np.int32], NDArray[Any]]:
    """Which distinct value each row holds, and the distinct values in the order in which they appear."""
    encoded = ids.dictionary_encode().combine_chunks()
    return encoded.indices.to_numpy(), encoded.dictionary.to_numpy(zero_copy_only=False)


def _restore_attrs(ds: xr.Dataset, notes: dict[str, Any]) -> xr.Dataset:
    ds = ds.assign_coords(_unpacked_map(notes.get("map", {})))
    ds.attrs = notes["attrs"]
    for name, attrs in notes["variables"].items():
        if name in ds.variables:
            ds[name].attrs = attrs
    return ds
