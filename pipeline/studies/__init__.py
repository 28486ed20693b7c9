"""Many runs at once: a study that compares contenders, and a search over the settings of one recipe.

`jobs` says which processes a study needs, and `runner` runs them. What runs at the same time is in a `pool`, which
passes signals on to it; a process and what is around it is in `processes`. `comparison` ends a study with its verdict
and page.

`search` runs the trials of a search. `trials` draws them from a `space` and scores them, in the storage of Optuna that
`trial_storage` opens. `expected_best` says what one may expect from a number of trials.

Nothing here imports torch: every run is a process of its own.
"""
