"""Mutated inputs to every reader: `make fuzz`, or python tests/fuzz/campaign.py --cases 100000 --seed 1.

Seeds are small whole files that the campaign writes. A case is a seed, changed once to four times where its format has
structure (tags of a PBF behind its compression, numbers and fields of a text, keys of a JSON, a file of a folder) or
byte by byte, and read in a forked child. What comes of it:

    same      read as before
    other     read, with another content: what a map or a table of others says may change; `changed` where the project
              wrote the file itself, whose checksums must see it
    refused   GentrafficError or PoiError, in one line; `boundary`: by the last net of `gentraffic.io.guard`
    internal  any other exception
    crash, hang, memory   the child ended by a signal, took LIMIT_S twice, or held more than LIMIT_MB above its start

Prints a table by reader, and the seed of every case that must not be, whose input it keeps (--keep); exits 1 where
there is one. What was found once lies mended against in tests/fuzz/corpus, a folder a reader, and is read again by
every campaign and by the tests: each file there must be refused.
"""

from __future__ import annotations

import argparse
import faulthandler
import hashlib
import json
import os
import random
import resource
import select
import shutil
import signal
import struct
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]
LIMIT_S, LIMIT_MB = 10.0, 1024
CORPUS = Path(__file__).with_name("corpus")
BAD = ("internal", "crash", "hang", "memory", "changed")
KINDS = ("same", "other", "refused", "boundary", *BAD)
NUMBERS = ("0", "-1", "1e999", "nan", "inf", "-0", "9" * 30, "1e-320", "0x10", "", "٣", "1,5", "2**63", "true", "null")
PIECES = (b"\0", b"\xff", b"\xef\xbb\xbf", b"\n", b'"', b"'", b";", b",", b"\t", b"<", b"&#0;", b"{", b"]", b"\\u0000",
          "é".encode(), b"\xed\xa0\x80", b"%s", b"-", b"9" * 20)  # fmt: skip


@dataclass(frozen=True)
class Reader:
    """write: makes a seed at a path. read: what it holds, as text or bytes. ours: whether the project wrote it."""

    suffix: str
    write: Callable[[Path], None]
    read: Callable[[Path], bytes]
    mutate: Callable[[random.Random, bytes], bytes]
    ours: bool = False


# --- mutations --------------------------------------------------------------------------------------------------------


def any_bytes(rng: random.Random, data: bytes) -> bytes:
    """A flipped, replaced, doubled, dropped or inserted piece, or an end cut off."""
    out, at = bytearray(data), rng.randrange(len(data) + 1)
    length = min(rng.choice((1, 1, 2, 4, 8, 64, 512)), max(len(data) - at, 1))
    match rng.randrange(7):
        case 0:
            if at < len(out):
                out[at] ^= 1 << rng.randrange(8)
        case 1:
            out[at : at + length] = rng.randbytes(length)
        case 2:
            del out[at : at + length]
        case 3:
            out[at:at] = out[at : at + length]
        case 4:
            out[at:at] = rng.choice(PIECES)
        case 5:
            del out[at:]
        case 6:
            extreme = rng.choice((0, 1, -1, 2**31 - 1, -(2**31), 2**63 - 1))
            out[at : at + 8] = struct.pack(rng.choice("<>") + "q", extreme)
    return bytes(out)


def text(rng: random.Random, data: bytes) -> bytes:
    """A number replaced, a line doubled, dropped or moved, a field emptied; or bytes."""
    if rng.random() < 0.3:
        return any_bytes(rng, data)
    lines = data.split(b"\n")
    at = rng.randrange(len(lines))
    match rng.randrange(4):
        case 0:
            lines.insert(rng.randrange(len(lines)), lines[at])
        case 1:
            del lines[at]
        case 2:
            fields = lines[at].split(b",")
            fields[rng.randrange(len(fields))] = rng.choice(NUMBERS).encode()
            lines[at] = b",".join(fields)
        case 3:
            import re

            spots = list(re.finditer(rb"-?\d+(\.\d+)?", data))
            if spots:
                spot = rng.choice(spots)
                return data[: spot.start()] + rng.choice(NUMBERS).encode() + data[spot.end() :]
    return b"\n".join(lines)


def json_value(rng: random.Random, data: bytes) -> bytes:
    """One value anywhere in a document replaced, dropped or nested; or text."""
    if rng.random() < 0.3:
        return text(rng, data)
    try:
        document = json.loads(data)
    except ValueError:
        return any_bytes(rng, data)
    if not isinstance(document, dict | list):
        return any_bytes(rng, data)
    holder: Any = document
    while True:
        keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
        if not keys:
            return any_bytes(rng, data)
        key = rng.choice(keys)
        inner = holder[key]
        if isinstance(inner, dict | list) and inner and rng.random() < 0.75:
            holder = inner
            continue
        break
    if rng.random() < 0.2:
        del holder[key]
    else:
        extreme = (None, "", "x", -1, 0, 1e308, float("nan"), float("inf"), 2**63, 10**400, [], {}, [[]], True, "\0",
                   "\ud800", [inner], {"a": inner}, "9" * 400)  # fmt: skip
        holder[key] = rng.choice(extreme)
    return json.dumps(document).encode("utf-8", "surrogatepass")


def pbf(rng: random.Random, data: bytes) -> bytes:
    """Bytes changed behind the compression of a blob, whose frame and checksum are made whole again; or any bytes."""
    if rng.random() < 0.2:
        return any_bytes(rng, data)
    from pbf_builder import blob

    from poi.safety import blobs, fields

    parts = []
    try:
        for kind, _, message in blobs(iter([data]), "x"):
            content = fields(message, "x")
            raw = content[3]
            parts.append((kind, zlib.decompress(raw) if isinstance(raw, bytes) else b""))
    except Exception:
        return any_bytes(rng, data)
    at = rng.randrange(len(parts))
    parts[at] = parts[at][0], any_bytes(rng, parts[at][1])
    return b"".join(blob(kind, content) for kind, content in parts)


def zipped(rng: random.Random, data: bytes) -> bytes:
    """A file within an archive changed as text, and packed again; or any bytes."""
    import io
    import zipfile

    if rng.random() < 0.3:
        return any_bytes(rng, data)
    out = io.BytesIO()
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
            names = old.namelist()
            chosen = rng.choice(names)
            for name in names:
                content = old.read(name)
                new.writestr(name, text(rng, content) if name == chosen else content)
    except Exception:  # an earlier change has torn it
        return any_bytes(rng, data)
    return out.getvalue()


def gzipped(rng: random.Random, data: bytes) -> bytes:
    """The text within a gzip changed, and packed again; or any bytes."""
    import gzip

    if rng.random() < 0.3:
        return any_bytes(rng, data)
    try:
        return gzip.compress(text(rng, gzip.decompress(data)), 1, mtime=0)
    except Exception:
        return any_bytes(rng, data)


# --- readers ----------------------------------------------------------------------------------------------------------


def _points(path: Path) -> bytes:
    from poi.osm import read_pois

    pois = read_pois(path)
    rows = sorted(zip(pois["category"], pois.geometry.x, pois.geometry.y, strict=True))
    return repr(rows).encode()


def _dataset(ds: Any) -> bytes:
    parts = [repr(sorted((k, str(v)) for k, v in ds.attrs.items())).encode()]
    for name in sorted(map(str, ds.variables)):
        values = ds[name].values
        content = repr(values.tolist()).encode() if values.dtype.kind == "O" else values.tobytes()
        parts.append(f"{name} {ds[name].dims} {values.dtype} {sorted(ds[name].attrs.items())}".encode() + content)
    return b"\n".join(parts)


def _traffic(path: Path) -> bytes:
    from gentraffic.io.files import read_traffic

    return _dataset(read_traffic(path))


def _context(path: Path) -> bytes:
    from gentraffic.io.files import read_context

    return _dataset(read_context(path))


def _frame(read: str) -> Callable[[Path], bytes]:
    def frame(path: Path) -> bytes:
        from gentraffic.io import user_cells

        cells = getattr(user_cells, read)(path)
        return repr(list(zip(cells["cell_id"], cells.geometry.to_wkt(), strict=True))).encode()

    return frame


def _import(path: Path) -> bytes:
    from gentraffic.io.importers.table import read_table

    return _dataset(read_table(path, timezone="Europe/Rome"))


def _telecom(path: Path) -> bytes:
    from gentraffic.io.importers.telecom_italia import read_telecom_italia

    return _dataset(read_telecom_italia([path]))


def _model(path: Path) -> bytes:
    from gentraffic.generators.base import read_folder

    folder = read_folder(path)
    return repr(sorted((n, hashlib.sha256(c).hexdigest()) for n, c in folder.files.items())).encode()


def _uomo(path: Path) -> bytes:
    from gentraffic.io.importers.uomo import read_uomo

    return b"".join(map(_dataset, read_uomo(path)))


def _changes(path: Path) -> bytes:
    from traffic_examples import context

    from gentraffic.places.scenario import apply_changes

    changed = apply_changes(context(n=3), path)
    return repr((changed.lines, changed.context["poi_count"].values.tolist())).encode()


def _checkpoint(path: Path) -> bytes:
    from gentraffic.training.checkpoint import resume

    note, tensors = resume(path, {"plan": 1})
    return repr((note, sorted((name, tensor.tolist()) for name, tensor in tensors.items()))).encode()


def _forecaster(path: Path) -> bytes:
    from gentraffic.forecasting.folder import load_fitted, stored_scaler

    fitted, sha256 = load_fitted(path)
    scaler = stored_scaler(path)
    return repr((fitted.name, sha256, scaler.cell_id, scaler.scaler.mean.tolist())).encode()


def _ledger(path: Path) -> bytes:
    from gentraffic.privacy.release import read_ledger

    return json.dumps(read_ledger(path, "network").to_json()).encode()


def _write_map(path: Path) -> None:
    import osmium
    from osmium.osm.mutable import Node, Relation, Way

    with osmium.SimpleWriter(str(path)) as writer:
        for i in range(30):
            tags = {"shop": "books", "name": "Bär & Söhne"} if i % 3 == 0 else {}
            writer.add_node(Node(id=i + 1, version=1, location=(9 + i / 1000, 45 + (i % 7) / 1000), tags=tags))
        for i in range(6):
            ring = [4 * i + 1, 4 * i + 2, 4 * i + 3, 4 * i + 4, 4 * i + 1]
            writer.add_way(Way(id=i + 1, version=1, nodes=ring, tags={"amenity": "school"} if i % 2 else {}))
        members = [("w", 1, "outer"), ("w", 3, "inner")]
        writer.add_relation(
            Relation(id=1, version=1, members=members, tags={"type": "multipolygon", "leisure": "park"})
        )


def _write_overpass(path: Path) -> None:
    elements: list[dict[str, Any]] = [
        {"type": "node", "id": i, "lat": 45 + i / 1000, "lon": 9.0, "tags": {"shop": "books"}} for i in range(8)
    ]
    ring = [{"lat": 45.0, "lon": 9.0}, {"lat": 45.0, "lon": 9.1}, {"lat": 45.1, "lon": 9.1}, {"lat": 45.0, "lon": 9.0}]
    elements.append({"type": "way", "id": 1, "nodes": [1, 2, 3, 1], "geometry": ring, "tags": {"amenity": "school"}})
    elements.append({"type": "way", "id": 2, "center": ring[1], "tags": {"amenity": "cinema"}})
    member = {"type": "way", "ref": 5, "role": "outer", "geometry": ring}
    tags = {"type": "multipolygon", "leisure": "park"}
    elements.append({"type": "relation", "id": 1, "members": [member], "tags": tags})
    path.write_text(json.dumps({"osm3s": {"timestamp_osm_base": "2026-01-01T00:00:00Z"}, "elements": elements}))


def _residents(path: Path) -> bytes:
    from traffic_examples import context

    from gentraffic.places.residents import with_residents

    return with_residents(context(n=3), path)["population"].values.tobytes()


def _write_residents(path: Path) -> None:
    from traffic_examples import SIDE, SOUTH, UTM, WEST, context

    if path.suffix == ".csv":
        place = context(n=3)
        at = zip(place.lon.values, place.lat.values, strict=True)
        rows = [f"{lon},{lat},{i}.5" for i, (lon, lat) in enumerate(at)]
        path.write_text("lon,lat,residents\n" + "\n".join(rows) + "\n")
        return
    import numpy as np
    import rasterio

    corner = rasterio.Affine(SIDE / 2, 0, WEST - SIDE, 0, -SIDE / 2, SOUTH + 4 * SIDE)
    with rasterio.open(
        path, "w", driver="GTiff", count=1, width=10, height=10, dtype="float32", crs=UTM.to_wkt(), transform=corner,
        compress="deflate", nodata=-1,
    ) as tif:  # fmt: skip
        tif.write(np.arange(100, dtype=np.float32).reshape(10, 10), 1)


def _write_table(path: Path) -> None:
    rows = [f"9.0{i},45.0{i},shop,books" for i in range(10)]
    path.write_text("lon,lat,key,value\n" + "\n".join(rows) + "\n")


def _write_stations(path: Path) -> None:
    path.write_text("id,lon,lat\n" + "".join(f"S{i},9.0{i},45.0{i}\n" for i in range(10)))


def _write_series(path: Path) -> None:
    rows = [f"C{c},9.0{c},45.0{c},2026-01-05T{h:02d}:00,{h * c}.5" for c in range(3) for h in range(24)]
    path.write_text("cell,lon,lat,time,value\n" + "\n".join(rows) + "\n")


def _write_telecom(path: Path) -> None:
    start = 1383260400000
    path.write_text("".join(
        f"{cell}\t{start + 600_000 * k}\t39\t0.1\t0.2\t0.3\t0.4\t{k}.5\n" for cell in (4142, 4143) for k in range(144)
    ))  # fmt: skip


def _write_packed_series(path: Path) -> None:
    import gzip

    plain = path.with_name("plain.csv")
    _write_series(plain)
    path.write_bytes(gzip.compress(plain.read_bytes(), mtime=0))
    plain.unlink()


def _write_series_as(kind: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        import pandas as pd

        plain = path.with_name("plain.csv")
        _write_series(plain)
        frame = pd.read_csv(plain)
        plain.unlink()
        if kind == "wide":
            frame.pivot(index="time", columns="cell", values="value").to_csv(path)
        else:
            getattr(frame, f"to_{kind}")(path, index=False)

    return write


def _write_overture(path: Path) -> None:
    import geopandas as gpd
    import pandas as pd
    from shapely.geometry import Point

    kinds = [{"primary": "restaurant", "alternate": None}, {"primary": "school", "alternate": None}]
    table = pd.DataFrame({"id": [str(i) for i in range(8)], "categories": [kinds[i % 2] for i in range(8)]})
    points = [Point(9 + i / 100, 45 + i / 100) for i in range(8)]
    gpd.GeoDataFrame(table, geometry=points, crs=4326).to_parquet(path)


def _write_uomo(path: Path) -> None:
    import numpy as np

    rng = np.random.default_rng(0)
    stamps = np.stack(np.divmod(np.arange(48), 24), axis=1)
    numbers = {name: rng.random((2, 48, 4, 4)).astype(np.float32) for name in ("traffic", "users")}
    poi, classes = rng.integers(0, 9, (2, 3, 4, 4)).astype(np.int32), np.array(["shopping", "medical", "events"])
    ids = {"location": np.arange(2, dtype=np.int32), "week": np.zeros(2, dtype=np.int32)}
    np.savez(path, **numbers, poi=poi, poi_classes=classes, **ids, dow_tod=stamps, steps_per_day=np.int32(24))


def _write_changes(path: Path) -> None:
    from traffic_examples import context

    cells = context(n=3)
    points = [[float(cells["lon"][i]), float(cells["lat"][i])] for i in range(3)]
    said = ({"change": "add", "category": "Shop", "count": 3}, {"change": "add", "counts": {"Food": 2}, "name": "x"},
            {"change": "add", "key": "amenity", "value": "school"})  # fmt: skip
    features = [{"type": "Feature", "properties": properties, "geometry": {"type": "Point", "coordinates": point}}
                for properties, point in zip(said, points, strict=True)]  # fmt: skip
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))


def _write_checkpoint(path: Path) -> None:
    import torch

    from gentraffic.training.checkpoint import save_checkpoint

    save_checkpoint(path, {"plan": 1, "step": 7}, {"weight": torch.arange(12.0).reshape(3, 4)})


def _write_forecaster(path: Path) -> None:
    from traffic_examples import context, traffic

    import gentraffic

    gentraffic.forecast.fit("last", traffic(context(n=3), days=21), out=path)


def _write_ledger(path: Path) -> None:
    entry = {"name": "a", "date": "2026-01-01", "digest": "0" * 64, "model": "m", "epsilon": 4.0, "delta": 1e-5,
             "unit": "cell", "adjacency": "replace"}  # fmt: skip
    path.write_text(json.dumps({"source": "network", "releases": [entry]}))


def _write_cells(path: Path) -> None:
    import geopandas as gpd
    from shapely.geometry import box

    shapes = [box(9 + i / 100, 45, 9 + (i + 1) / 100, 45.01) for i in range(6)]
    frame = gpd.GeoDataFrame({"cell_id": [f"Z{i}" for i in range(6)]}, geometry=shapes, crs=4326)
    (frame.to_parquet if path.suffix == ".parquet" else frame.to_file)(path)


def _write_traffic(path: Path) -> None:
    from traffic_examples import context, traffic

    from gentraffic.io.files import write_traffic

    write_traffic(traffic(context(n=3)), path)


def _write_unsealed(path: Path) -> None:
    """As another program writes it: without what says that it is whole."""
    from gentraffic.io import atomic

    _write_traffic(path)
    if path.is_dir():
        metadata = json.loads((path / ".zmetadata").read_text())
        (path / ".zmetadata").write_text(json.dumps({k: v for k, v in metadata.items() if k != atomic.LIST}))
        for file in (path / ".zattrs", path / ".zmetadata"):
            document = json.loads(file.read_text())
            document.get("metadata", {}).get(".zattrs", document).pop(atomic.LISTED, None)
            file.write_text(json.dumps(document))
    else:
        path.write_bytes(path.read_bytes()[: -atomic._LENGTH])


def _write_context(path: Path) -> None:
    from traffic_examples import context

    from gentraffic.io.files import write_context

    write_context(context(n=3), path)


def _write_model(path: Path) -> None:
    from gentraffic.generators.base import MODELS

    smallest = min(MODELS.iterdir(), key=lambda folder: sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()))
    shutil.copytree(smallest, path)


READERS = {
    "pbf": Reader(".osm.pbf", _write_map, _points, pbf),
    "osm xml": Reader(".osm", _write_map, _points, text),
    "osm gz": Reader(".osm.gz", _write_map, _points, any_bytes),
    "osm bz2": Reader(".osm.bz2", _write_map, _points, any_bytes),
    "overture": Reader(".parquet", _write_overture, _points, any_bytes),
    "overpass": Reader(".json", _write_overpass, _points, json_value),
    "poi table": Reader(".csv", _write_table, _points, text),
    "stations": Reader(".csv", _write_stations, _frame("read_stations"), text),
    "residents tif": Reader(".tif", _write_residents, _residents, any_bytes),
    "residents": Reader(".csv", _write_residents, _residents, text),
    "geojson": Reader(".geojson", _write_cells, _frame("read_cells"), json_value),
    "geopackage": Reader(".gpkg", _write_cells, _frame("read_cells"), any_bytes),
    "shapefile": Reader(".shp", _write_cells, _frame("read_cells"), any_bytes),
    "flatgeobuf": Reader(".fgb", _write_cells, _frame("read_cells"), any_bytes),
    "table": Reader(".csv", _write_series, _import, text),
    "geoparquet": Reader(".parquet", _write_cells, _frame("read_cells"), any_bytes),
    "table wide": Reader(".csv", _write_series_as("wide"), _import, text),
    "table gz": Reader(".csv.gz", _write_packed_series, _import, gzipped),
    "table xlsx": Reader(".xlsx", _write_series_as("excel"), _import, zipped),
    "table pq": Reader(".parquet", _write_series_as("parquet"), _import, any_bytes),
    "telecom": Reader(".txt", _write_telecom, _telecom, text),
    "uomo": Reader(".npz", _write_uomo, _uomo, zipped),
    "changes": Reader(".geojson", _write_changes, _changes, json_value),
    "other nc": Reader(".nc", _write_unsealed, _traffic, any_bytes),
    "other zarr": Reader(".zarr", _write_unsealed, _traffic, json_value),
    "netcdf": Reader(".nc", _write_traffic, _traffic, any_bytes, ours=True),
    "context": Reader(".nc", _write_context, _context, any_bytes, ours=True),
    "zarr": Reader(".zarr", _write_traffic, _traffic, json_value, ours=True),
    "parquet": Reader(".parquet", _write_traffic, _traffic, any_bytes, ours=True),
    "csv": Reader(".csv", _write_traffic, _traffic, text, ours=True),
    "zarr ctx": Reader(".zarr", _write_context, _context, json_value, ours=True),
    "model": Reader("", _write_model, _model, json_value, ours=True),
    "forecaster": Reader("", _write_forecaster, _forecaster, json_value, ours=True),
    "checkpoint": Reader(".safetensors", _write_checkpoint, _checkpoint, any_bytes, ours=True),
    "ledger": Reader(".json", _write_ledger, _ledger, json_value),
}


# --- the campaign -----------------------------------------------------------------------------------------------------


def _mutated(reader: Reader, seed: Path, target: Path, rng: random.Random) -> None:
    """The seed changed, as a file or folder of its own at `target`."""
    if seed.is_dir():
        shutil.copytree(seed, target)
        file = rng.choice(sorted(p for p in target.rglob("*") if p.is_file() and p.name != "README.md"))
        if rng.random() < 0.1:
            file.unlink()
            return
    else:
        for beside in seed.parent.iterdir():
            shutil.copy(beside, target.parent)
        file = target
    data = file.read_bytes()
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        data = reader.mutate(rng, data) if data else rng.randbytes(9)
    file.write_bytes(data)


def _verdict(reader: Reader, seed: Path, before: bytes, rng: random.Random, folder: Path) -> tuple[str, str]:
    from gentraffic.errors import GentrafficError
    from poi.errors import PoiError

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    target = folder / seed.name
    _mutated(reader, seed, target, rng)
    try:
        after = reader.read(target)
    except (GentrafficError, PoiError) as error:
        line = str(error)
        if "\n" in line:
            return "internal", f"a message of several lines: {line[:200]!r}"
        return ("boundary" if "cannot be read (" in line and "Error: " in line else "refused"), line.replace(
            str(target), ""
        )
    except Exception as error:
        return "internal", f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    if after == before:
        return "same", ""
    return ("changed" if reader.ours else "other"), ""


def kept_inputs() -> list[tuple[str, Path]]:
    """(reader, input) of the corpus."""
    return [(folder.name, path) for folder in sorted(CORPUS.iterdir()) for path in sorted(folder.iterdir())]


def read_again(name: str, path: Path) -> str:
    """Nothing where an input of the corpus is refused in one line, else what became of it."""
    from gentraffic.errors import GentrafficError
    from poi.errors import PoiError

    try:
        READERS[name].read(path)
    except (GentrafficError, PoiError) as error:
        return "" if "\n" not in str(error) else f"{path}: a message of several lines"
    except Exception as error:
        return f"{path}: internal: {type(error).__name__}: {error}"
    return f"{path}: read"


def _child(
    tasks: list[tuple[str, int]], seeds: dict[str, Path], before: dict[str, bytes], out: int, keep: Path | None
) -> None:
    """In the fork: one line a case, as soon as it is known."""
    faulthandler.disable()  # its report of a crash would be a page each
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what C libraries print on damage
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        for name, number in tasks:
            os.write(out, b"?\n")
            rng = random.Random(f"{name} {number}")
            kind, said = _verdict(READERS[name], seeds[name], before[name], rng, folder / "case")
            now = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            if now - held > LIMIT_MB << 10:
                kind, said, held = "memory", f"{(now - held) >> 10} MB", now
            if kind in BAD and keep is not None:
                shutil.copytree(folder / "case", keep / name.replace(" ", "_") / str(number), dirs_exist_ok=True)
            os.write(out, json.dumps([kind, said[:400]]).encode() + b"\n")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(0)


def campaign(
    cases: int, seed: int, names: list[str] | None = None, batch: int = 200, keep: Path | None = None
) -> tuple[dict[str, Counter[str]], list[str]]:
    """Counts of each kind by reader, and a line for each case that must not be."""
    folder = Path(tempfile.mkdtemp(prefix="fuzz-seeds-"))
    chosen = names or list(READERS)
    seeds, before = {}, {}
    for name in chosen:
        (folder / name).mkdir()
        seeds[name] = folder / name / f"seed{READERS[name].suffix}"
        READERS[name].write(seeds[name])
        before[name] = READERS[name].read(seeds[name])
    counts = {name: Counter[str]() for name in chosen}
    lines: list[str] = []
    waited: set[tuple[str, int]] = set()
    tasks = [(chosen[i % len(chosen)], seed * 10**9 + i) for i in range(cases)]
    while tasks:
        part, tasks = tasks[:batch], tasks[batch:]
        done = 0
        heard, told = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(heard)
            _child(part, seeds, before, told, keep)
        os.close(told)
        kind, pending = "", b""
        while done < len(part):
            ready, _, _ = select.select([heard], [], [], LIMIT_S)
            data = os.read(heard, 1 << 16) if ready else b""
            if not data:
                kind = "hang" if not ready else "crash"
                break
            *whole, pending = (pending + data).split(b"\n")
            for line in whole:
                if line == b"?":
                    continue
                verdict, said = json.loads(line)
                name, number = part[done]
                counts[name][verdict] += 1
                if verdict in BAD:
                    lines.append(f"{verdict}: {name} {number}: {said}")
                done += 1
        os.close(heard)
        if kind == "hang" and part[done] not in waited:  # a machine that is busy with other work: once more
            os.kill(child, signal.SIGKILL)
            waited.add(part[done])
            tasks = part[done:] + tasks
        elif kind:
            os.kill(child, signal.SIGKILL)
            name, number = part[done]
            counts[name][kind] += 1
            lines.append(f"{kind}: {name} {number}")
            tasks = part[done + 1 :] + tasks
        os.waitpid(child, 0)
    shutil.rmtree(folder, ignore_errors=True)
    return counts, lines


def table(counts: dict[str, Counter[str]]) -> str:
    """Counts as text, readers down, kinds across."""
    rows = [f"{'reader':12}" + "".join(f"{kind:>10}" for kind in KINDS)]
    total = sum(counts.values(), Counter[str]())
    for name, count in [*counts.items(), ("all", total)]:
        rows.append(f"{name:12}" + "".join(f"{count[kind]:>10}" for kind in KINDS))
    return "\n".join(rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--readers", nargs="*", choices=list(READERS))
    parser.add_argument("--keep", type=Path, default=ROOT / "build" / "fuzz", help="folder of inputs that must not be")
    parser.add_argument("--one", type=int, help="the number of one case: show what becomes of it, with its traceback")
    words = parser.parse_args()
    if words.one is not None:
        (name,) = words.readers
        reader, folder = READERS[name], Path(tempfile.mkdtemp())
        (folder / "seed").mkdir()
        (folder / "case").mkdir()
        seed = folder / "seed" / f"seed{reader.suffix}"
        reader.write(seed)
        _mutated(reader, seed, folder / "case" / seed.name, random.Random(f"{name} {words.one}"))
        print(folder / "case" / seed.name, flush=True)
        print(reader.read(folder / "case" / seed.name)[:500])
        return 0
    start = time.perf_counter()
    again = [wrong for name, path in kept_inputs() if (wrong := read_again(name, path))]
    counts, lines = campaign(words.cases, words.seed, words.readers, keep=words.keep)
    lines = again + lines
    print("\n".join(lines))
    print(table(counts))
    took = time.perf_counter() - start
    print(f"{words.cases} cases, seed {words.seed}, {took:.0f} s, {words.cases / took:.0f} a second")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
