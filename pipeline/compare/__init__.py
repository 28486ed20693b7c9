"""Compares several runs: their scores in a table, and a verdict with intervals and tests.

`judging` makes the verdict. `runs` reads the folders, `contenders` joins runs that differ only in their seed, `rows`
finds the rows that runs have in common, `scoring` gives their scores as sums over rows for the tests of
`pipeline.metrics.comparison`, and `comparability` says which of these scores may be compared. `verdict` holds the
result, and `sentences` puts it into words; `table` prints it, and `markdown` writes it for a model card or a paper.
"""
