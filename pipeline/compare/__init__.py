"""Compares several runs: their scores in a table, and a verdict with intervals and tests.

`runs` reads their folders, and `contenders` joins those that differ only in their seed. `verdict` holds what a
comparison has found. `table` prints the scores.
"""
