"""Checkpoints: what resuming needs, and how it is written."""
