"""Traffic datasets -> the formats of other programs: one file per family of formats, listed in `registry`."""
