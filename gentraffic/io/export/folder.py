"""An export that is a folder: written whole, and never in place of a folder that is not one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from gentraffic import __version__
from gentraffic.errors import BadInput
from gentraffic.io.atomic import check_nothing_lost, replacing

if TYPE_CHECKING:
    import xarray as xr

MARK = "gentraffic-export.json"  # says what the folder is, and that gentraffic may replace it

HIDDEN_MARK = f"_{MARK}"  # in a folder of which every file is read that has no such name, as Parquet's is


@contextmanager
def folder(path: str | Path, ds: xr.Dataset, made: str, *, mark: str = MARK) -> Iterator[Path]:
    """Yield a temporary folder that becomes `path` when the block ends well; the mark is written beside the files.

    Raises BadInput where something stands there that is no such export, or holds files of somebody else, WrongUse for a
    path with a suffix.
    """
    check_folder(path)
    with replacing(path, ("",), folder=True) as temporary:
        yield temporary
        about = {"format": made, "gentraffic": __version__, "timezone": ds.attrs["timezone"]}
        kept = ("title", "source", "model", "member", "attribution", "license")
        about |= {name: str(ds.attrs[name]) for name in kept if name in ds.attrs}
        about["units"] = {str(name): str(ds[name].attrs["units"]) for name in ds.data_vars}
        about["files"] = sorted(p.relative_to(temporary).as_posix() for p in temporary.rglob("*") if p.is_file())
        (temporary / mark).write_text(json.dumps(about, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def check_folder(path: str | Path) -> None:
    """Raise BadInput where a folder stands at `path` that is not empty and no export, or holds more than the export."""
    target = Path(path)
    marked = any((target / name).is_file() for name in (MARK, HIDDEN_MARK))
    if target.is_dir() and any(target.iterdir()) and not marked:
        raise BadInput(f"{path} exists and is not an export of gentraffic; take another name")
    for name in (MARK, HIDDEN_MARK):
        try:
            files = json.loads((target / name).read_text(encoding="utf-8"))["files"]
        except (OSError, ValueError, KeyError, TypeError):
            continue  # no such mark, or of a version that did not list them
        there = [p.relative_to(target).as_posix() for p in target.rglob("*") if p.is_symlink() or p.is_file()]
        check_nothing_lost(path, [file for file in there if file not in (*files, name)])
