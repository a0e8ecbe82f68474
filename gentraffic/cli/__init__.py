"""Parse, call `gentraffic.api`, print. `main` is the command; `from gentraffic.cli import main` runs it in Python."""

from gentraffic.cli.main import main as main
