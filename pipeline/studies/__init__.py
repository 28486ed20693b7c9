"""Many runs at once: a study that compares contenders, and a search over the settings of one recipe.

`jobs` says which processes a study needs. `runner` runs them, a few at a time, and passes signals on to them; a process
and what is around it is in `processes`. `comparison` ends a study with its verdict and page.

`search` runs the trials of a search. They draw from a `space`, and `trials` keeps them in Optuna's storage.
`expected_best` says what one may expect from so many trials.

Nothing here imports torch: every run is a process of its own.
"""
