"""Trained models that draw traffic, as folders that anyone can load."""
