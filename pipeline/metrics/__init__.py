"""Metrics as `evaluate.Metric` modules, loaded from disk without network, and the statistics of their scores.

`classification`, `multi_label`, `regression`, `entities` and `translation` score predictions. `multi_label` also finds
the thresholds that decide which labels a text gets. `scores` names what they report, and `statistics` summarises it
over rows and seeds.

`comparison` says how a score of one system differs from that of another, with interval and test. It rests on
`decomposed`, the scores as functions of sums over rows (`ngrams` has BLEU and chrF), on `bootstrap`, the resamples of
rows and seeds, on `paired_tests`, and on `power`, the differences that a test can see. `stochastic_order` compares
scores over seeds.
"""
