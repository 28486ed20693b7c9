"""Metrics as `evaluate.Metric` modules, loaded from disk without network, and the statistics of their scores.

`classification`, `multi_label`, `regression` and `entities` score predictions. `multi_label` also finds the thresholds
that decide which labels a text gets. `scores` names what they report, and `statistics` summarises it over rows and
seeds.
"""
