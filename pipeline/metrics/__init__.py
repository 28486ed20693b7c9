"""Metrics as `evaluate.Metric` modules, loaded from disk without network, and the statistics of their scores.

`classification`, `multi_label`, `regression` and `entities` each hold the metric of a kind of answer. `multi_label`
also finds the thresholds that decide which labels a text gets. `statistics` summarises scores over runs.
"""
