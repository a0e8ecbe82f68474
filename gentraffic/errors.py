"""What a user can cause. Each class carries its exit code; the message is one line that names the value and the fix."""


class GentrafficError(Exception):
    """Base class of the errors that end a command in one line."""

    exit_code = 1


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
