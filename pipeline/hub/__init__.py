"""Downloads from the Hub: models, datasets and tokenizers, each at a fixed commit.

`pinning` resolves every revision in a recipe to a commit, records the commits in the run folder, and reads them from
there when the run is resumed. `download` does the resolving, and fetches the files of a commit into a local folder that
`models` and `data` load. `errors` explains errors of the Hub, here and in `publish`.
"""
