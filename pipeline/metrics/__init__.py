"""Metrics as `evaluate.Metric` modules that are loaded from disk: nothing here asks the network."""
