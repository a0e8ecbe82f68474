"""The formulas of metrics.md under their exact names."""
