"""An export that is a folder: written whole, and never in place of a folder that is not one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from gentraffic import __version__
from gentraffic.errors import BadInput
from gentraffic.io.atomic import check_nothing_lost, replacing

if TYPE_CHECKING:
    import xarray as xr

MARK = "gentraffic-export.json"  # says what the folder is, and that gentraffic may replace it

OLD_MARK = f"_{MARK}"  # of folders of Parquet that earlier versions wrote
FOOTER = "gentraffic_export"  # the mark within Parquet files: programs take every file of their folder for data


def mark_text(ds: xr.Dataset, made: str, files: list[str]) -> str:
    """The mark of a folder in the format `made` with these files: JSON."""
    about = {"format": made, "gentraffic": __version__, "timezone": ds.attrs["timezone"]}
    kept = ("title", "source", "model", "member", "measured_cells", "totals", "attribution", "license")
    promised = sorted(str(name) for name in ds.attrs if str(name).startswith("privacy_"))
    about |= {name: str(ds.attrs[name]) for name in (*kept, *promised) if name in ds.attrs}
    about["units"] = {str(name): str(ds[name].attrs["units"]) for name in ds.data_vars}
    about["files"] = files
    return json.dumps(about, indent=1, ensure_ascii=False)


@contextmanager
def folder(path: str | Path, ds: xr.Dataset, made: str, *, marked: bool = True) -> Iterator[Path]:
    """Yield a temporary folder that becomes `path` when the block ends well; the mark is written beside the files.

    marked: False where the block writes `mark_text` into Parquet files, as FOOTER.

    Raises BadInput where something stands there that is no such export, or holds files of somebody else, WrongUse for a
    path with a suffix.
    """
    check_folder(path)
    with replacing(path, ("",), folder=True) as temporary:
        yield temporary
        if marked:
            files = sorted(p.relative_to(temporary).as_posix() for p in temporary.rglob("*") if p.is_file())
            (temporary / MARK).write_text(mark_text(ds, made, files) + "\n", encoding="utf-8")


def check_folder(path: str | Path) -> None:
    """Raise BadInput where a folder stands at `path` that is not empty and no export, or holds more than the export."""
    target = Path(path)
    if not target.is_dir() or not any(target.iterdir()):
        return
    marks = _marks(target)
    if not marks:
        raise BadInput(f"{path} exists and is not an export of gentraffic; take another name")
    for name, text in marks.items():
        try:
            files = json.loads(text)["files"]
        except (ValueError, KeyError, TypeError):
            continue  # of a version that did not list them
        there = [p.relative_to(target).as_posix() for p in target.rglob("*") if p.is_symlink() or p.is_file()]
        check_nothing_lost(path, [file for file in there if file not in (*files, name)])


def _marks(target: Path) -> dict[str, str]:
    """The marks of a folder: the name of the file that is one, or FOOTER, and what it says."""
    marks = {name: target / name for name in (MARK, OLD_MARK) if (target / name).is_file()}
    found = {name: file.read_text(encoding="utf-8", errors="replace") for name, file in marks.items()}
    part = next((p for p in sorted(target.glob("day=*/part-0.parquet")) if p.is_file()), None)
    if not found and part is not None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        with suppress(OSError, pa.ArrowException):
            held = pq.read_metadata(part).metadata or {}
            found |= {FOOTER: held[FOOTER.encode()].decode("utf-8", "replace")} if FOOTER.encode() in held else {}
    return found
