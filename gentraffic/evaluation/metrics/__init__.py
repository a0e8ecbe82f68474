"""The formulas of METRICS.md under their exact names."""
