"""Writing as a whole or not at all: a temporary name beside the target, fsync, rename.

A folder takes the place of another in one step where the system can exchange two names. Where it cannot, the older one
steps aside as `.NAME.*.aside` for a moment; `recover` puts it back after a process that was killed in that moment.
No output is an input: what every function of `gentraffic.api`, and so every command, is refused before any work.
What the project keeps beside an output is opened without following links, and only if its owner is the user.

What a file or a store needs to know itself whole: a SHA-256 behind a NetCDF file, in notes, and of a Zarr store.

HDF5 knows its own length and ignores what follows it, so every reader still opens a sealed NetCDF file; but one altered
byte can make the HDF5 library crash the whole process, so a file that carries the seal is compared with it before the
library sees it. Whoever changes the file through HDF5 cuts the seal off, and the file is read like any other. Bytes
behind the end that are no seal are refused: they would hide it.

A Zarr store lists all of its files with their sizes and hashes in `.zmetadata`, the metadata that readers open first.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import json
import logging
import math
import mmap
import os
import re
import secrets
import shutil
import stat
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from gentraffic.errors import BadInput, WrongUse

# Arguments that name what is written -> how the command line writes them; any other that names a file is an input.
LOG = logging.getLogger(__name__)
OUTPUTS = {
    "out": "-o",
    "map_file": "--map",
    "plot_file": "--plot",
    "html": "--html",
    "rest": "--rest",
    "context_out": "--context",
}
MODELS = ("model", "source", "start")  # text that may be a bundled model or a folder
POSITIONAL = ("traffic", "src", "path", "paths", "real", "what", "place")  # inputs that the command line gives no name
ASIDE = ".aside"  # ends the name of a folder that is being replaced
NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)  # Windows has no such flag, and no such links by default
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # the same number on Linux and, as RENAME_SWAP, on macOS


def check_outputs(given: Mapping[str, Any], files: Collection[str] = ()) -> None:
    """Raise WrongUse where an output is, holds or lies in one of the inputs, by whatever name, or two are the same.

    given: every argument of a call, by name. files: the names of those whose text is a path; a Path always is one.
    Files are told apart by device and inode, so links count.
    """
    written = [
        (typed, Path(value)) for name, typed in OUTPUTS.items() if isinstance(value := given.get(name), str | Path)
    ]
    for i, (typed, path) in enumerate(written):
        for other, another in written[:i]:
            if os.path.realpath(path) == os.path.realpath(another) or _same(path, another):
                raise WrongUse(f"{other} and {typed} are the same file, {path}: give one of them another name")
    known = {*files, *MODELS}
    read = [
        (name, path) for name, value in given.items() if name not in OUTPUTS for path in _paths(value, name in known)
    ]
    for typed, path in written:
        for name, source in read:
            what = f"the input {source}" if name in POSITIONAL else f"--{name.replace('_', '-')} {source}"
            if _same(path, source):
                raise WrongUse(f"{typed} {path} is {what}, which it would replace: give another {typed}")
            if path.is_dir() and Path(os.path.realpath(source)).is_relative_to(os.path.realpath(path)):
                raise WrongUse(f"{typed} {path} holds {what}, which it would replace: give another {typed}")
            if source.is_dir() and Path(os.path.realpath(path)).is_relative_to(os.path.realpath(source)):
                raise WrongUse(f"{typed} {path} lies in {what}, which it would change: give another {typed}")


def _paths(value: Any, is_file: bool) -> list[Path]:
    """The files and folders that are there and that the value of an input names; `@FILE#PART` names one, too."""
    if isinstance(value, tuple | list):
        return [path for part in value for path in _paths(part, is_file)]
    if isinstance(value, str):
        _, at, file = value.partition("@")
        if is_file:
            value = Path(value)
        elif at and file:
            value = Path(file.partition("#")[0])
    if not isinstance(value, Path):
        return []
    beside = value.with_name(f"{value.name}-metadata.json") if value.suffix.lower() == ".csv" else value
    return [path for path in dict.fromkeys((value, beside)) if path.name and path.exists()]


def _same(path: Path, other: Path) -> bool:
    """Whether two names are of one file or folder, also through links; what is not there is no file."""
    try:
        return os.path.samefile(path, other)
    except OSError:
        return False


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
        if target.exists():
            check_nothing_lost(path, [name for name in _files(target) if not _of_zarr(name)])
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
        if not any(part.endswith(".part") for part in target.parts[:-1]):  # else it is not yet what was asked for
            LOG.info("wrote %s", target)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)


def _beside(target: Path) -> Path:
    name = target.name.encode("utf-8", "replace").decode()  # libraries in C++ take no other bytes
    return target.with_name(f".{name}.{secrets.token_hex(4)}.part")


def _is_zarr(folder: Path) -> bool:
    return any((folder / name).is_file() for name in (".zgroup", "zarr.json"))


def cannot_write(path: str | Path, error: OSError) -> BadInput:
    """The one line that a failed write becomes."""
    # h5py and others put several lines into the message: the first line, or the system's own words, say enough.
    reason = error.strerror or (str(error).splitlines() or [type(error).__name__])[0]
    asked = Path(path)
    for part in (*reversed(asked.parents), asked):  # `.NAME.*.part` holds pieces of what was asked for
        if part.suffix == ".part" and part.name.startswith("."):
            asked = part.with_name(part.name[1:].rpartition(".")[0].rpartition(".")[0])
            break
    return BadInput(f"cannot write {asked}: {reason}")


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
    status = os.fstat(handle)
    wrong = "no plain file" if not stat.S_ISREG(status.st_mode) else _not_ours(status)
    if wrong:
        os.close(handle)
        raise _strange(path, wrong)
    return handle


def check_own(path: Path) -> None:
    """Raise BadInput unless the file or folder at `path`, if any, is the user's own and no link."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return
    plain = stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)
    wrong = "a link" if stat.S_ISLNK(status.st_mode) else "no plain file" if not plain else _not_ours(status)
    if wrong:
        raise _strange(path, wrong)


def own_folder(path: Path) -> None:
    """Make a folder that only this user can enter, or find it made. Raises BadInput as `check_own`."""
    with suppress(FileExistsError):
        path.mkdir(mode=0o700)
    check_own(path)
    if not path.is_dir():
        raise _strange(path, "no folder")


def _not_ours(status: os.stat_result) -> str:
    """Why a file that was found is not to be trusted; "" where it is the user's own."""
    if hasattr(os, "geteuid") and status.st_uid != os.geteuid():
        return "another user's"
    return "writable by every user" if stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_IWOTH else ""


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


_MARK = b"\ngentraffic sha256 "
_LENGTH = len(_MARK) + 64 + 1
_HDF5 = b"\x89HDF\r\n\x1a\n"
_AGAIN = "write it again"

LIST = "gentraffic_files"  # in .zmetadata: the files of the store, and the seal of the metadata and the list
LISTED = "files_listed"  # attribute of the store: its .zmetadata holds the list
_CONSOLIDATED = ".zmetadata"


def put_seal(path: str | Path) -> None:
    """Append the seal to a whole file."""
    with Path(path).open("r+b") as stream:
        digest = _digest(stream, Path(path).stat().st_size)
        stream.seek(0, 2)
        stream.write(_MARK + digest + b"\n")


def check_seal(path: str | Path) -> None:
    """Raise BadInput where `path` carries a seal that does not fit, or something behind its end that is no seal.

    An HDF5 file that ends where it says passes without a seal: another program has written it."""
    path = Path(path)
    size = path.stat().st_size
    with path.open("rb") as stream:
        end = _found(stream, size)
        if end < 0:
            end = _end_of_hdf5(stream)
            if 0 <= end < size:
                raise BadInput(f"damaged: {size - end} bytes stand behind its end that do not belong there; {_AGAIN}")
            return
        stream.seek(end)
        seal = stream.read(_LENGTH)
        stream.seek(0)
        if seal != _MARK + _digest(stream, end) + b"\n":
            raise BadInput(f"damaged: its bytes do not have the SHA-256 that was written behind them; {_AGAIN}")
        if size > end + _LENGTH:
            raise BadInput(f"damaged: {size - end - _LENGTH} bytes were added behind its end; {_AGAIN}")


def is_sealed(path: str | Path) -> bool:
    """Whether a file carries the seal of this project, broken or not."""
    with Path(path).open("rb") as stream:
        return _found(stream, Path(path).stat().st_size) >= 0


def _found(stream: BinaryIO, size: int) -> int:
    """Where the last seal of a file begins, -1 where there is none."""
    if size < _LENGTH:
        return -1
    with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.rfind(_MARK)


def _end_of_hdf5(stream: BinaryIO) -> int:
    """The length that an HDF5 file says it has, in its superblock (versions 0 to 3); -1 where it says none."""
    stream.seek(0)
    head = stream.read(64)
    if not head.startswith(_HDF5) or len(head) < 64:
        return -1
    version = head[8]
    size, at = (head[13], 24 + (4 if version == 1 else 0)) if version < 2 else (head[9], 12)
    if version > 3 or size != 8 or int.from_bytes(head[at : at + 8], "little"):  # the base address
        return -1
    # version 0, 1: base, free space, end; version 2, 3: base, extension, end
    return int.from_bytes(head[at + 16 : at + 24], "little")


def _digest(stream: BinaryIO, size: int) -> bytes:
    sha = hashlib.sha256()
    while size > 0 and (piece := stream.read(min(size, 2**20))):
        sha.update(piece)
        size -= len(piece)
    return sha.hexdigest().encode()


def seal_of(notes: Any) -> str:
    """The SHA-256 of what JSON can hold, however it is laid out."""
    return hashlib.sha256(json.dumps(notes, sort_keys=True).encode()).hexdigest()


# --- Zarr stores ------------------------------------------------------------------------------------------------------


def list_store(store: Path, known: Mapping[str, str] | None = None) -> None:
    """Write the list of the files of a consolidated Zarr 2 store, and their hashes, into its `.zmetadata`.

    known: SHA-256 of files by their names in the store, so that what was hashed when it was written is not read again.
    """
    attrs = json.loads((store / ".zattrs").read_text(encoding="utf-8")) | {LISTED: _CONSOLIDATED}
    (store / ".zattrs").write_text(json.dumps(attrs, indent=2), encoding="utf-8")
    whole = json.loads((store / _CONSOLIDATED).read_text(encoding="utf-8"))
    whole["metadata"][".zattrs"] = attrs
    files = {
        name: [path.stat().st_size, (known or {}).get(name) or _sha256(path)]
        for name, path in sorted(_files(store).items())
        if name != _CONSOLIDATED
    }
    whole[LIST] = {"files": files, "sha256": seal_of([whole["metadata"], files])}
    (store / _CONSOLIDATED).write_text(json.dumps(whole, indent=1), encoding="utf-8")


def check_store(store: Path, *, chunks: bool = True) -> None:
    """Raise BadInput unless a store that lists its files holds these, all of them, and no other; others pass.

    chunks: False compares the sizes of the chunks only, not their hashes."""
    path = store / _CONSOLIDATED
    try:
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        whole = json.loads(text) if text else {}
        listed = whole.get(LIST)
    except (OSError, ValueError, AttributeError) as error:
        raise BadInput(f"damaged: {_CONSOLIDATED} is not readable ({error}); copy the store again") from error
    if listed is None:
        if says_listed(store):
            _check_unlisted(store, whole)
        _check_counts(store)
        return
    if not isinstance(listed, dict) or listed.get("sha256") != seal_of([whole.get("metadata"), listed.get("files")]):
        raise BadInput(f"damaged: {_CONSOLIDATED} does not have its own SHA-256; copy the store again")
    files: dict[str, list[Any]] = listed["files"]
    there = _files(store)
    missing = [name for name in files if name not in there]
    if missing:
        raise BadInput(f"incomplete: {_named(missing)} missing of {len(files)} files; copy the store again")
    more = [name for name in there if name not in files and name != _CONSOLIDATED and not _of_a_desktop(name)]
    if more:
        raise BadInput(f"{_named(more)} not of this store as it was written; remove what is too much")
    for name, (size, digest) in files.items():
        metadata = Path(name).name.startswith(".z")
        if there[name].stat().st_size != size or ((chunks or metadata) and _sha256(there[name]) != digest):
            raise BadInput(
                f"damaged: {name} differs from its SHA-256; copy the store again, or write what you changed anew"
            )


def _check_unlisted(store: Path, whole: dict[str, Any]) -> None:
    """Raise BadInput where a store that had a list once lacks its metadata, or has it in two versions.

    Another program that wrote it anew has dropped the list, and wrote both alike. whole: what `.zmetadata` holds."""
    metadata = whole.get("metadata")
    if not isinstance(metadata, dict):
        raise BadInput(f"incomplete: {_CONSOLIDATED} is missing; copy the store again")
    for name, document in metadata.items():
        try:
            same = json.loads((store / name).read_text(encoding="utf-8")) == document
        except (OSError, ValueError):
            same = False
        if not same:
            raise BadInput(f"damaged: {_CONSOLIDATED} and {name} differ; copy the store again")


def _check_counts(store: Path) -> None:
    """Raise BadInput where a Zarr 2 store without a list lacks a chunk of a table of whole numbers, read as zeros else.

    A lost chunk of other numbers is read as NaN, which no check of the schema passes."""
    import numpy as np

    for document in sorted(store.glob("*/.zarray")):
        try:
            about = json.loads(document.read_text(encoding="utf-8"))
            shape, chunks = [int(n) for n in about["shape"]], [int(n) for n in about["chunks"]]
            parts = [-(-n // size) for n, size in zip(shape, chunks, strict=True)]
            table = len(shape) > 1 and str(about["dtype"])[1:2] in "iu"
        except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError):
            continue  # its reader says so
        if not table or min(shape) < 1:
            continue
        mark = str(about.get("dimension_separator") or ".")
        whole = math.prod(parts)
        there = sum(1 for file in _files(document.parent) if re.fullmatch(r"\d+([./]\d+)*", file))
        if there < whole:
            first = next((mark.join(map(str, at)) for at in np.ndindex(*parts)
                          if not (document.parent / mark.join(map(str, at))).is_file()), "")  # fmt: skip
            raise BadInput(
                f"incomplete: {document.parent.name}/{first} is missing of {whole} chunks; copy the store again"
            )


def _of_zarr(name: str) -> bool:
    """Whether a file has a name that Zarr gives: metadata, a chunk, or what a killed writer left of one."""
    last = name.rpartition("/")[2].removesuffix(".partial")
    chunk = re.fullmatch(r"(.*/)?(c/)?\d+([./]\d+)*", name.removesuffix(".partial"))
    return last in (".zarray", ".zattrs", ".zgroup", _CONSOLIDATED, "zarr.json", "c") or chunk is not None


def check_nothing_lost(path: str | Path, foreign: Collection[str]) -> None:
    """Raise BadInput where a folder that is to be replaced holds files that gentraffic did not write: they would be
    deleted with it. foreign: their names in it."""
    lost = sorted(name for name in foreign if not _of_a_desktop(name))
    if lost:
        also = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
        raise BadInput(
            f"{path} holds {lost[0]}{also}, which gentraffic did not write and which would be deleted with it: move "
            "that elsewhere, or give another -o"
        )


def says_listed(store: Path) -> bool:
    """Whether the attributes of a Zarr 2 store say that it lists its files."""
    try:
        return LISTED in json.loads((store / ".zattrs").read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return False


def _files(store: Path) -> dict[str, Path]:
    """All files of a store by their names in it."""
    files = {}
    for parent, _, names in os.walk(store):
        for name in names:
            path = Path(parent, name)
            files[path.relative_to(store).as_posix()] = path
    return files


def _of_a_desktop(name: str) -> bool:
    """Whether a file manager has left a file: it is no part of the store."""
    last = Path(name).name
    return last in (".DS_Store", "Thumbs.db", "desktop.ini") or last.startswith("._")


def _named(names: list[str]) -> str:
    return f"{names[0]} is" if len(names) == 1 else f"{names[0]} and {len(names) - 1} more are"


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
