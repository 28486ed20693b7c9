"""What comes in from the Hub: models, datasets and tokenizers, each at one commit.

A run first asks `pinning`, which resolves every revision in its recipe to a commit, records the commits in its folder,
and reads them from there when the run is continued. `download` does the resolving, and fetches the files of a commit
into a local folder that `models` and `data` load. `errors` explains what the Hub refuses, here and in `publish`.
"""
