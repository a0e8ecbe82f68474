"""Noise to traffic: denoisers, baselines, the drawing loop."""
