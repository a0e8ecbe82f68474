"""Vector files by GDAL, which by itself would open anything by any driver, and ask the network on a file's word.

What a file is must be what its suffix says, by its first bytes; GDAL's drivers are checked by name; a CRS by link is
refused, and GDAL is given no way to the network while it reads.
"""

from __future__ import annotations

import glob
import json
import mmap
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gentraffic.errors import BadInput, WrongUse

if TYPE_CHECKING:
    import geopandas as gpd

# The first bytes of each kind, and the drivers that may read it.
KINDS: dict[str, tuple[bytes, tuple[str, ...]]] = {
    ".geojson": (b"{", ("GeoJSON", "ESRIJSON", "TopoJSON")),
    ".json": (b"{", ("GeoJSON", "ESRIJSON", "TopoJSON")),
    ".gpkg": (b"SQLite format 3\0", ("GPKG",)),
    ".shp": (b"\0\0\x27\x0a", ("ESRI Shapefile",)),
    ".fgb": (b"fgb\x03fgb", ("FlatGeobuf",)),
    ".parquet": (b"PAR1", ()),
    ".geoparquet": (b"PAR1", ()),
}
_LINKED_CRS = re.compile(rb'"crs"\s*:\s*\{[^{}]*(\{[^{}]*\}[^{}]*)?"type"\s*:\s*"link"')
_CRS_MEMBER = re.compile(rb'"crs"\s*:\s*')
_LONGEST_CRS = 4096  # bytes
_ANSI = 0x57  # the code page of a .dbf that only says: that of its system
_STYLES = "layer_styles"  # the table in which QGIS keeps how a GeoPackage looks
# A proxy that no library can speak to ends each request before a connection; /vsicurl has its own gate.
_OFFLINE = {
    "GDAL_HTTP_PROXY": "nowhere://offline",
    "GDAL_HTTPS_PROXY": "nowhere://offline",
    "GDAL_HTTP_TIMEOUT": "1",
    "GDAL_HTTP_CONNECTTIMEOUT": "1",
    "GDAL_HTTP_MAX_RETRY": "0",
    "CPL_VSIL_CURL_ALLOWED_FILENAME": "/none",
    "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".none",
    "OGR_SQLITE_ALLOW_EXTERNAL_ACCESS": "NO",
    "OGR_SQLITE_LOAD_EXTENSIONS": None,
}


def check_vector(path: Path, what: str, suffixes: Sequence[str], max_bytes: int) -> None:
    """Raises BadInput unless `path` is a regular file (or a link to one) of a known kind, by suffix and content."""
    if not path.is_file():
        raise BadInput(f"{path} {'is no file' if path.exists() else 'does not exist'}: give the path of {what}")
    suffix = path.suffix.lower()
    if suffix not in suffixes:
        raise BadInput(f"{path}: {what} come as {', '.join(suffixes)}, not {suffix or 'without a suffix'}")
    size = path.stat().st_size
    if size > max_bytes:
        raise BadInput(f"{path} has {size} bytes, more than the cap of {max_bytes}: cut it to the place")
    if suffix == ".shp":
        for beside in (".dbf", ".shx", ".prj", ".cpg"):
            other = path.with_suffix(beside)
            if other.exists() and not other.is_file():
                raise BadInput(f"{other} is no regular file: a Shapefile comes with files beside it")
    magic = KINDS[suffix][0]
    with path.open("rb") as stream:
        start = stream.read(256).removeprefix(b"\xef\xbb\xbf")
        if suffix in (".geojson", ".json"):
            if start.lstrip()[:1] != magic:
                raise BadInput(f"{path} is empty or not GeoJSON: it must start with {{")
            with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as text:
                if _LINKED_CRS.search(text):
                    raise BadInput(f"{path} names its CRS by a link, which is not followed: state it, e.g. EPSG:4326")
        elif not start.startswith(magic):
            raise BadInput(f"{path} is not what its name says: no {suffix} file begins so; save it again, or rename it")


@contextmanager
def gdal_offline() -> Iterator[None]:
    """GDAL, as pyogrio has it, without the network and without files that a file names."""
    import pyogrio

    before = {name: pyogrio.get_gdal_config_option(name) for name in _OFFLINE}
    pyogrio.set_gdal_config_options(_OFFLINE)
    try:
        yield
    finally:
        pyogrio.set_gdal_config_options(before)


def read_layer(path: Path, layer: str | None, max_rows: int) -> tuple[gpd.GeoDataFrame, list[str]]:
    """The shapes of a file's one layer, or of `layer`, and lines on what was repaired.

    Raises WrongUse where the layer is not there, or must be named; BadInput for another driver and too many rows."""
    import pyogrio

    layers: list[tuple[str, Any]] = [(str(name), kind) for name, kind in pyogrio.list_layers(path.absolute())]
    chosen = _chosen(path, layers, layer)
    info = pyogrio.read_info(path.absolute(), layer=chosen)
    if info["driver"] not in KINDS[path.suffix.lower()][1]:
        raise BadInput(f"{path} is not what its name says: GDAL takes it for {info['driver']}")
    if info["features"] > max_rows:
        raise BadInput(f"{path} has {info['features']} shapes, more than the cap of {max_rows}: cut it")
    encoding, notes = _dbf_encoding(path) if info["driver"] == "ESRI Shapefile" else (None, [])
    with warnings.catch_warnings(record=True) as remarks:  # GDAL's own, such as on feature ids that nobody reads
        warnings.simplefilter("always")
        frame = pyogrio.read_dataframe(path.absolute(), layer=chosen, on_invalid="fix", encoding=encoding)
    if info["driver"] == "GeoJSON":
        _check_stated_crs(path, frame.crs)
    if any("closed ring" in str(remark.message) for remark in remarks):
        notes = [*notes, f"{path.name}: outlines that are not closed were closed"]
    return frame, notes


def _dbf_encoding(path: Path) -> tuple[str | None, list[str]]:
    """(how the texts beside a Shapefile are written where neither a .cpg nor the .dbf says it, else None; warnings).

    Text that is UTF-8 as a whole is UTF-8: no other one looks so by chance."""
    beside = {file.suffix.lower(): file for file in sorted(path.parent.glob(f"{glob.escape(path.stem)}.*"))}
    if ".cpg" in beside or ".dbf" not in beside:
        return None, []
    content = beside[".dbf"].read_bytes()
    if len(content) < 32 or content[29] not in (0, _ANSI) or content.isascii():
        return None, []
    body = content[32:]  # the head holds a date and sizes
    if body.isascii():
        return None, []
    fields = int.from_bytes(content[8:10], "little")  # bytes of the head, which the descriptions of fields end
    try:
        content[fields:].decode("utf-8")
    except UnicodeDecodeError:
        return "ISO-8859-1", [f"{path.name} is read as Latin-1, as it says no encoding: a .cpg beside it names another"]
    return "UTF-8", []


def _check_stated_crs(path: Path, found: Any) -> None:
    """Raise BadInput where a GeoJSON names a CRS that nobody knows, which GDAL takes for WGS 84 without a word."""
    import pyproj

    stated = _crs_member(path)
    if stated is None or found is None or not found.equals(pyproj.CRS(4326), ignore_axis_order=True):
        return
    properties = stated.get("properties") if isinstance(stated, dict) else None
    about = properties if isinstance(properties, dict) else {}
    name = stated if isinstance(stated, str) else about.get("name", f"EPSG:{about.get('code')}")
    try:
        known = pyproj.CRS.from_user_input(str(name)).equals(pyproj.CRS(4326), ignore_axis_order=True)
    except pyproj.exceptions.CRSError:
        known = str(name).upper() == "CRS84"
    if not known:
        shown = " ".join(str(about.get("name", about.get("code", stated))).split())[:60]
        raise BadInput(f"{path} names the CRS {shown}, which is not understood: state one such as EPSG:4326")


def _crs_member(path: Path) -> Any:
    """What the member `crs` of a collection says, None where there is none: it stands before or after the features."""
    if path.stat().st_size == 0:
        return None
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as text:
        begin, end = text.find(b'"features"'), max(text.rfind(b"]"), 0)
        for match in _CRS_MEMBER.finditer(text):
            if begin < match.start() < end:  # a property of a feature
                continue
            start = text[match.end() : match.end() + _LONGEST_CRS].decode("utf-8", "replace")
            try:
                return json.JSONDecoder().raw_decode(start)[0]
            except ValueError:
                return start[:60]
    return None


def _chosen(path: Path, layers: Sequence[tuple[str, Any]], layer: str | None) -> str | None:
    names = [name for name, _ in layers]
    listed = ", ".join(f"{name} ({kind or 'no shapes'})" for name, kind in layers[:20])
    if layer is not None:
        if layer not in names:
            raise WrongUse(f"--layer {layer}: {path} has {listed or 'no layers'}")
        return layer
    shapes = [name for name, kind in layers if kind is not None and name != _STYLES]
    if len(shapes) > 1:
        raise WrongUse(f"{path} has {len(shapes)} layers, {listed}: name one with --layer")
    return shapes[0] if shapes else None
