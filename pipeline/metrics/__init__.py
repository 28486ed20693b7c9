"""Metrics as `evaluate.Metric` modules, loaded from disk without network, and the statistics of their scores."""
