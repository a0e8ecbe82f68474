"""gentraffic: synthetic cellular traffic for any place."""

__version__ = "0.1.0"
