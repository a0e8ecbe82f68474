"""Writing as a whole or not at all: a temporary name beside the target, fsync, rename."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from gentraffic.errors import BadInput, WrongUse


def check_writable(path: str | Path, suffixes: Sequence[str], *, folder: bool = False) -> Path:
    """The path that a write to `path` would replace; to be called before long work.

    Raises WrongUse where the suffix is none of `suffixes`, and BadInput where the folder is missing or cannot be
    written, or where something else than a file, or with `folder` than a folder, stands in the way.
    """
    path = Path(path)
    if path.suffix.lower() not in suffixes:
        what = f"unknown suffix {path.suffix!r}" if path.suffix else "no suffix"
        raise WrongUse(f"{path}: {what}; the suffix names the format, one of {' '.join(suffixes)}")
    target = Path(os.path.realpath(path))  # a link is written through, not replaced
    if not target.parent.is_dir():
        raise BadInput(f"{path}: there is no folder {target.parent}; create it first")
    if target.suffix.lower() == ".zarr":
        if target.exists() and not _is_zarr(target):
            raise BadInput(f"{path} exists and is not a Zarr store; remove it or take another name")
    elif target.exists() and not (target.is_dir() if folder else target.is_file()):
        raise BadInput(f"{path} exists and is not a {'folder' if folder else 'file'}; take another name")
    probe = _beside(target)
    try:
        probe.touch(exist_ok=False)
        probe.unlink()
    except OSError as error:
        raise cannot_write(path, error) from None
    return target


@contextmanager
def replacing(path: str | Path, suffixes: Sequence[str], *, folder: bool = False) -> Iterator[Path]:
    """Yield a temporary path; when the block ends well, what was written there becomes `path`, else nothing remains.

    The block creates the file or (`folder`) fills the folder. Any OSError inside it, such as a full disk, becomes
    BadInput. A process that is killed leaves at most a hidden `.NAME.*.part`, which no reader takes for the whole.
    """
    target = check_writable(path, suffixes, folder=folder)
    temporary = _beside(target)
    try:
        if folder:
            temporary.mkdir()
        yield temporary
        sync(temporary)
        if folder and target.exists():
            swap_folder(temporary, target)
        else:
            os.replace(temporary, target)
        sync_one(target.parent)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)


def _beside(target: Path) -> Path:
    return target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")


def _is_zarr(folder: Path) -> bool:
    return any((folder / name).is_file() for name in (".zgroup", "zarr.json"))


def cannot_write(path: str | Path, error: OSError) -> BadInput:
    """The one line that a failed write becomes."""
    # h5py and others put several lines into the message: the first line, or the system's own words, say enough.
    reason = error.strerror or (str(error).splitlines() or [type(error).__name__])[0]
    return BadInput(f"cannot write {path}: {reason}")


def swap_folder(temporary: Path, target: Path) -> None:
    """Put a folder in the place of another, which is removed."""
    # POSIX renames a folder onto an empty one only: the old store steps aside, and comes back if that fails.
    aside = _beside(target)
    os.rename(target, aside)
    try:
        os.rename(temporary, target)
    finally:
        if not target.exists():
            os.rename(aside, target)
    shutil.rmtree(aside, ignore_errors=True)


def sync(path: Path) -> None:
    """Bring a file, or a folder and all in it, through to the disk."""
    if path.is_dir():
        for parent, _, names in os.walk(path):
            for name in names:
                sync_one(Path(parent, name))
            sync_one(Path(parent))
    else:
        sync_one(path)


def sync_one(path: Path) -> None:
    """Bring a file, or the names in a folder, through to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
