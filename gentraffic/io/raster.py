"""Amounts per pixel of a GeoTIFF, such as residents: the pixels of an area that hold any, and where their corners lie.

GDAL opens nothing but a GeoTIFF here, and looks at no file beside it. Pixels of the nodata value and of NaN hold
nothing. What the file says of scale and offset is applied.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gentraffic.errors import BadInput
from gentraffic.io.guard import check_regular, reads
from gentraffic.io.user_cells import GRID_FILE

if TYPE_CHECKING:
    from pyproj import Transformer

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # of TIFF, and of BigTIFF
SUFFIXES = (".tif", ".tiff")
MAX_PIXELS = 2**31  # that are read
MAX_BLOCK = 2**30  # bytes of one block of the file, which is unfolded as a whole
READ = 2**22  # pixels at a time
_CORNERS = np.array([(0, 0), (1, 0), (1, 1), (0, 1)])  # column and row of a pixel's corners, in their order around it


@dataclass(frozen=True)
class Raster:
    """The pixels of an area that hold more than nothing.

    col, row: (pixels,) where they are in the file. value: (pixels,) what they hold. affine: six numbers a to f, with
    x = a col + b row + c and y = d col + e row + f in `crs` (WKT). width, height: of the whole file.
    """

    path: Path
    crs: str
    affine: tuple[float, float, float, float, float, float]
    width: int
    height: int
    col: Ints
    row: Ints
    value: Floats

    def corners(self, pixels: slice, crs: str) -> Floats:
        """The corners of some pixels in another CRS, (n, 4, 2); of what cannot be told there, inf."""
        at = np.stack([self.col[pixels], self.row[pixels]], axis=1)[:, None, :] + _CORNERS
        x, y = self._transformer(crs).transform(*self._position(at[..., 0], at[..., 1]))
        return np.stack([x, y], axis=-1)

    def middles(self, pixels: slice, crs: str) -> Floats:
        """The middles of some pixels in another CRS, (n, 2)."""
        x, y = self._transformer(crs).transform(*self._position(self.col[pixels] + 0.5, self.row[pixels] + 0.5))
        return np.stack([x, y], axis=-1)

    def _position(self, col: NDArray[Any], row: NDArray[Any]) -> tuple[Floats, Floats]:
        """x and y in `crs` of columns and rows: whole numbers are corners of pixels. col, row: (...) of one shape."""
        a, b, c, d, e, f = self.affine
        return a * col + b * row + c, d * col + e * row + f

    def holds(self, xy: Floats, crs: str) -> NDArray[np.bool_]:
        """Which points of another CRS lie on the raster: (n,). xy: (n, 2)."""
        from pyproj import Transformer

        x, y = Transformer.from_crs(crs, self.crs, always_xy=True).transform(xy[:, 0], xy[:, 1])
        col, row = _pixel_of(self.affine, np.asarray(x), np.asarray(y))
        on: NDArray[np.bool_] = (col >= 0) & (col < self.width) & (row >= 0) & (row < self.height)
        return on

    def bounds(self) -> tuple[float, float, float, float]:
        """West, south, east and north of the whole file, in degrees."""
        return _in_degrees(self.crs, self.affine, self.width, self.height)

    def _transformer(self, crs: str) -> Transformer:
        from pyproj import Transformer

        return Transformer.from_crs(self.crs, crs, always_xy=True)


def is_raster(path: str | Path) -> bool:
    """Whether a file is a TIFF, by its first bytes or, where it cannot be read, by its name."""
    check_regular(path)
    try:
        with Path(path).open("rb") as stream:
            return stream.read(4) in MAGIC or Path(path).suffix.lower() in SUFFIXES
    except OSError:
        return Path(path).suffix.lower() in SUFFIXES


@reads
def read_raster(path: str | Path, crs: str, box: tuple[float, float, float, float], what: str) -> Raster:
    """The pixels of a GeoTIFF that touch a box and hold more than nothing.

    crs: WKT in which the box (west, south, east, north) is given, in metres. what: what a pixel holds, for messages.
    Raises BadInput, in one line, for what is missing or no GeoTIFF, has several bands or no CRS, is too large, or
    holds an amount that is negative or without end.
    """
    import rasterio

    path = Path(path)
    if not path.is_file():
        raise BadInput(f"{path}: {'is no file' if path.exists() else 'no such file'}")
    with path.open("rb") as stream:
        if stream.read(4) not in MAGIC:
            raise BadInput(f"{path}: is no TIFF, whatever its name says: give a GeoTIFF, or a table (lon, lat, {what})")
    with (
        rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR", GDAL_PAM_ENABLED="NO"),
        rasterio.open(path.absolute(), driver="GTiff") as tif,
    ):
        _check(path, tif, what)
        affine, wkt = tuple(float(number) for number in tif.transform[:6]), str(tif.crs.to_wkt())
        window = _window(affine, wkt, (tif.width, tif.height), crs, box)
        found = _read(path, tif, window, what)
        return Raster(path, wkt, affine, tif.width, tif.height, *found)  # type: ignore[arg-type]


def _check(path: Path, tif: Any, what: str) -> None:
    if tif.count != 1:
        raise BadInput(f"{path}: has {tif.count} bands: give a GeoTIFF of one band, {what} in each pixel")
    if tif.dtypes[0].startswith("complex"):
        raise BadInput(f"{path}: holds {tif.dtypes[0]} numbers: give {what} in each pixel")
    if tif.crs is None or tif.transform.is_identity:
        raise BadInput(f"{path}: does not say where it lies: save it as a GeoTIFF with a CRS, such as EPSG:4326")
    if GRID_FILE.search(tif.crs.to_wkt()):
        raise BadInput(f"{path}: its CRS asks for a file of a grid shift: state one with an EPSG code")
    if tif.transform.is_degenerate:
        raise BadInput(f"{path}: its pixels have no area: save it anew")
    high, wide = tif.block_shapes[0]
    if high * wide * 8 > MAX_BLOCK:
        raise BadInput(f"{path}: is one block of {wide} x {high} pixels: save it in tiles"
                       " (gdal_translate -co TILED=YES)")  # fmt: skip


def _window(
    affine: tuple[float, ...], wkt: str, size: tuple[int, int], crs: str, box: tuple[float, float, float, float]
) -> tuple[int, int, int, int]:
    """First and last column and row, the last not among them, that a box can touch; all where that cannot be told."""
    from pyproj import Transformer

    west, south, east, north = Transformer.from_crs(crs, wkt, always_xy=True).transform_bounds(*box, densify_pts=21)
    if not np.isfinite([west, south, east, north]).all() or west >= east:  # both sides of the 180th meridian
        return 0, size[0], 0, size[1]
    x, y = np.array([west, east, west, east]), np.array([south, south, north, north])
    ends = []
    for at, most in zip(_pixel_of(affine, x, y), size, strict=True):
        low, high = np.clip([np.floor(at.min()) - 1, np.ceil(at.max()) + 1], 0, most)
        ends += [int(low), int(high)]
    return ends[0], ends[1], ends[2], ends[3]


def _pixel_of(affine: tuple[float, ...], x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Column and row, with fractions, of points in the CRS of a raster."""
    a, b, c, d, e, f = affine
    under = a * e - b * d
    return (e * (x - c) - b * (y - f)) / under, (a * (y - f) - d * (x - c)) / under


def _read(path: Path, tif: Any, window: tuple[int, int, int, int], what: str) -> tuple[Ints, Ints, Floats]:
    """Column, row and value of the pixels of a window that hold more than nothing. Raises BadInput."""
    from rasterio.windows import Window

    first, last, top, bottom = window
    if (last - first) * (bottom - top) > MAX_PIXELS:
        raise BadInput(f"{path}: {last - first} x {bottom - top} pixels of it lie in the area: cut it, or coarsen it")
    parts: list[tuple[Ints, Ints, Floats]] = [(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))]
    high = max(1, READ // max(1, last - first))
    for row in range(top, bottom, high) if last > first else ():
        some = Window(first, row, last - first, min(high, bottom - row))
        read = tif.read(1, window=some, masked=True)
        value = np.asarray(read.filled(0), dtype=np.float64) * tif.scales[0] + tif.offsets[0]
        value[np.ma.getmaskarray(read) | np.isnan(value)] = 0.0
        wrong = np.argwhere(~(np.isfinite(value) & (value >= 0)))
        if len(wrong):
            at = int(wrong[0][1]) + first, int(wrong[0][0]) + row
            hint = "" if tif.nodata is not None else "; where it stands for no data, say so in the file (nodata)"
            raise BadInput(
                f"{path}: {what} is {value[tuple(wrong[0])]:g} in column {at[0]}, row {at[1]}: "
                f"give a number of 0 or more{hint}"
            )
        rows, cols = np.nonzero(value)
        parts.append((cols + first, rows + row, value[rows, cols]))
    cols, rows, values = (np.concatenate(part) for part in zip(*parts, strict=True))
    return cols, rows, values


def _in_degrees(crs: str, affine: tuple[float, ...], width: int, height: int) -> tuple[float, float, float, float]:
    from pyproj import Transformer

    a, b, c, d, e, f = affine
    col, row = np.array([0, width, 0, width]), np.array([0, 0, height, height])
    x, y = a * col + b * row + c, d * col + e * row + f
    ends: tuple[float, float, float, float] = Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform_bounds(
        x.min(), y.min(), x.max(), y.max(), densify_pts=21
    )
    return ends
