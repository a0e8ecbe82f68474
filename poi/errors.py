"""What can go wrong between a place and its counts. Each class carries the exit code that a command ends with."""

MOST_LETTERS = 1000  # of a message: what is longer repeats a file


def one_line(message: str) -> str:
    """A message as one line: a value of a damaged file may hold several, or no end."""
    line = " ".join(message.split()) if len(message.splitlines()) > 1 else message
    return line if len(line) <= MOST_LETTERS else f"{line[: MOST_LETTERS // 2]} ... {line[-MOST_LETTERS // 2 :]}"


class PoiError(Exception):
    """Base class; the message is one line that names the value and the fix."""

    exit_code = 5

    def __init__(self, message: str = "") -> None:
        super().__init__(one_line(message))


class PlaceNotFound(PoiError):
    """No such place, or a place without points of interest."""

    exit_code = 3


class NetworkFailed(PoiError):
    """A server could not be reached, refused, or answered in part."""

    exit_code = 4


class BadFile(PoiError):
    """An input file is missing, broken, empty or not what its name says."""

    exit_code = 5
