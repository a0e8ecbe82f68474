"""Writing as a whole or not at all: a temporary name beside the target, fsync, rename.

A folder takes the place of another in one step where the system can exchange two names. Where it cannot, the older one
steps aside as `.NAME.*.aside` for a moment; `recover` puts it back after a process that was killed in that moment.
What the project keeps beside an output is opened without following links, and only if its owner is the user.
"""

from __future__ import annotations

import ctypes
import errno
import os
import secrets
import shutil
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from gentraffic.errors import BadInput, WrongUse

ASIDE = ".aside"  # ends the name of a folder that is being replaced
NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)  # Windows has no such flag, and no such links by default
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # the same number on Linux and, as RENAME_SWAP, on macOS


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
    recover(target)
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

    The file is there and empty, so that no link can be put under its name; the block writes it or (`folder`) fills the
    folder. Any OSError inside it, such as a full disk, becomes BadInput. A process that is killed leaves at most a
    hidden `.NAME.*.part`, which no reader takes for the whole.
    """
    target = check_writable(path, suffixes, folder=folder)
    temporary = _beside(target)
    try:
        if folder:
            temporary.mkdir()
        else:
            os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | NOFOLLOW, 0o666))
        yield temporary
        if not folder:
            check_own(temporary)
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
    """Put a folder in the place of another, which is removed. One of the two stands there at every moment.

    Where the system cannot exchange two names, the older one is out of its place for a moment: see `recover`.
    """
    if _exchange(temporary, target):
        shutil.rmtree(temporary, ignore_errors=True)
        return
    # POSIX renames a folder onto an empty one only: the old store steps aside, and comes back if that fails.
    aside = target.with_name(f".{target.name}.{secrets.token_hex(4)}{ASIDE}")
    os.rename(target, aside)
    try:
        os.rename(temporary, target)
    finally:
        if not target.exists():
            os.rename(aside, target)
    shutil.rmtree(aside, ignore_errors=True)


def recover(path: str | Path) -> None:
    """Put back the older folder where a process was killed while it replaced `path`, and nothing stands there."""
    target = Path(os.path.realpath(path))
    if os.path.lexists(target) or not target.parent.is_dir():
        return
    with suppress(OSError):  # nobody reads a folder that cannot be listed or renamed: the reader says so
        left = sorted(target.parent.glob(f".{_plain(target.name)}.????????{ASIDE}"), key=lambda p: p.stat().st_mtime)
        if left and left[-1].is_dir() and not left[-1].is_symlink() and not _not_ours(os.lstat(left[-1])):
            os.rename(left[-1], target)


def _plain(name: str) -> str:
    """A name whose characters mean themselves in a pattern."""
    import glob

    return glob.escape(name)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names in one step: renameat2 of Linux, renamex_np of macOS. False where the system cannot."""
    if os.name != "posix":
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    names = os.fsencode(one), os.fsencode(other)
    if sys.platform == "linux" and hasattr(libc, "renameat2"):
        done = libc.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], ctypes.c_uint(_RENAME_EXCHANGE))
    elif sys.platform == "darwin" and hasattr(libc, "renamex_np"):
        done = libc.renamex_np(*names, ctypes.c_uint(_RENAME_EXCHANGE))
    else:
        return False
    if done == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EXDEV):  # of the file system, not of these names
        return False
    raise OSError(code, os.strerror(code), str(other))


def open_own(path: Path, flags: int = os.O_RDONLY, mode: int = 0o600) -> int:
    """Open a file that this user keeps beside an output; the descriptor is the caller's to close.

    Raises BadInput where it is a link, no plain file, or another user's: such a file was not put there by the project.
    """
    try:
        handle = os.open(path, flags | NOFOLLOW | getattr(os, "O_NONBLOCK", 0), mode)  # a FIFO would wait for a writer
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EMLINK):
            raise _strange(path, "a link") from None
        raise
    found = os.fstat(handle)
    wrong = "no plain file" if not stat.S_ISREG(found.st_mode) else _not_ours(found)
    if wrong:
        os.close(handle)
        raise _strange(path, wrong)
    return handle


def check_own(path: Path) -> None:
    """Raise BadInput unless the file or folder at `path`, if any, is the user's own and no link."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    plain = stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)
    wrong = "a link" if stat.S_ISLNK(found.st_mode) else "no plain file" if not plain else _not_ours(found)
    if wrong:
        raise _strange(path, wrong)


def own_folder(path: Path) -> None:
    """Make a folder that only this user can enter, or find it made. Raises BadInput as `check_own`."""
    with suppress(FileExistsError):
        path.mkdir(mode=0o700)
    check_own(path)
    if not path.is_dir():
        raise _strange(path, "no folder")


def _not_ours(found: os.stat_result) -> str:
    """Why a file that was found is not to be trusted; "" where it is the user's own."""
    if hasattr(os, "geteuid") and found.st_uid != os.geteuid():
        return "another user's"
    return "writable by every user" if stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_IWOTH else ""


def _strange(path: Path, what: str) -> BadInput:
    return BadInput(f"{path} is {what}, and gentraffic did not put it there: remove it, or give another -o")


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
    if os.name == "nt":  # folders cannot be opened there, and a file must be writable
        if path.is_dir():
            return
        handle = os.open(path, os.O_RDWR)
    else:
        handle = os.open(path, os.O_RDONLY | NOFOLLOW)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
