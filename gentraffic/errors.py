"""What a user can cause. Each class carries its exit code; the message is one line that names the value and the fix."""

import re
from collections.abc import Iterable

from poi.errors import one_line

# Libraries whose own exceptions on a file say that the file is not as they need it, not that the program is wrong.
LIBRARIES = frozenset((
    "binascii", "bz2", "csv", "gzip", "h5netcdf", "h5py", "json", "lzma", "numcodecs", "osmium", "pandas", "pyarrow",
    "pyexpat", "pyogrio", "pyproj", "rasterio", "safetensors", "safetensors_rust", "shapely", "struct", "tarfile",
    "xml", "zarr", "zipfile", "zlib",
))  # fmt: skip


MOST_INTEGER = 2**63 - 1  # of any whole number that is asked for: files and NumPy hold no larger one
# How the loader of libraries says that memory is short.
NO_ROOM = re.compile("failed to map segment|cannot allocate memory|cannot map", re.IGNORECASE)
LONGEST_NAME = 60  # letters of a name: what is longer is no misspelt one


def did_you_mean(value: object, names: Iterable[object], prefix: str = "") -> str:
    """The end of a message on a misspelt value: the name that is most like it, prefix before it; "" where none is."""
    from difflib import get_close_matches

    if len(str(value)) > LONGEST_NAME:
        return ""
    spelled = {str(name).lower(): str(name) for name in names}
    near = get_close_matches(str(value).strip().lower(), spelled, n=1, cutoff=0.6)
    return f"; did you mean {prefix}{spelled[near[0]]}?" if near else ""


class GentrafficError(Exception):
    """Base class of the errors that end a command in one line."""

    exit_code = 1

    def __init__(self, message: str = "") -> None:
        super().__init__(one_line(message))


class WrongUse(GentrafficError):
    """Options that contradict each other or name something that does not exist."""

    exit_code = 2


class NoData(GentrafficError):
    """No such place, or no data there."""

    exit_code = 3


class BadInput(GentrafficError):
    """An input file is missing, broken or breaks its schema; or an output cannot be written."""

    exit_code = 5


class BadModel(GentrafficError):
    """A model folder is missing, torn, or of another version."""

    exit_code = 6


def in_one_line(error: Exception) -> tuple[str, int]:
    """What to say of an exception that is no GentrafficError, in one line, and the exit code that it stands for."""
    if isinstance(error, MemoryError) or (isinstance(error, ImportError) and NO_ROOM.search(str(error))):
        return "out of memory: draw fewer cells, days or members at once", BadInput.exit_code
    if isinstance(error, OSError):
        name = f"{error.filename}: " if error.filename else ""
        return f"{name}{error.strerror or error}", BadInput.exit_code
    kind = type(error).__name__
    if is_of_an_input(error):
        reason = " ".join(str(error).split())[:300]
        detail = f"{kind}: {reason}" if reason else kind
        line = f"an input cannot be read, or an output not written ({detail}); --debug shows where"
        return line, BadInput.exit_code
    return f"internal error, please report it: {kind}: {error} (--debug shows where)", GentrafficError.exit_code


def is_of_an_input(error: BaseException) -> bool:
    """Whether an exception, or what led to it, is a library's own, or of a kind that only data can cause."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, UnicodeError | OverflowError | EOFError | RecursionError):
            return True
        if any(kind.__module__.partition(".")[0] in LIBRARIES for kind in type(seen).__mro__):
            return True
        seen = seen.__cause__
    return False
