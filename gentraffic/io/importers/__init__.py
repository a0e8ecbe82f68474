"""Measured traffic in the formats of its sources -> Traffic datasets: one file per source."""
