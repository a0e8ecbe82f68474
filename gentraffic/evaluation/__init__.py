"""How good synthetic traffic is: metrics, intervals, naive rows, and the protocols of metrics.md."""
