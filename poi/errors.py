"""What can go wrong between a place and its counts. Each class carries the exit code that a command ends with."""


class PoiError(Exception):
    """Base class; the message is one line that names the value and the fix."""

    exit_code = 5


class PlaceNotFound(PoiError):
    """No such place, or a place without points of interest."""

    exit_code = 3


class NetworkFailed(PoiError):
    """A server could not be reached, refused, or answered in part."""

    exit_code = 4


class BadFile(PoiError):
    """An input file is missing, broken, empty or not what its name says."""

    exit_code = 5
