"""Differentially private fitting: accounting, levels, gradients."""
