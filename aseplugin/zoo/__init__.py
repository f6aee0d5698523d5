"""Bundled checkpoints and their cards."""
