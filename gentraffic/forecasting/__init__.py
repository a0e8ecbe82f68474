"""Fit and score forecasters, on measured and on synthetic traffic."""
