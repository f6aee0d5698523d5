"""Datasets, losses and training loops."""
