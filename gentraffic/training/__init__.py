"""Fitting the models: batches, loops that can be resumed, checkpoints, distillation."""
