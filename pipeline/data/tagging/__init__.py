"""Tags of words: how they are written, and one scheme for all splits.

`unified_tags` converts the tags of all splits, with `tag_names` (what each distinct tag means) and `tag_codes` (many
sentences at once, as numbers). `tag_spans` finds the entities of many sentences at once. `tags` has the schemes
themselves, a sentence at a time: what the tasks use, and what the others are tested against. `model_labels` reads the
labels of a model as tags, and `tag_distributions` what it believes about words as distributions over the tags of
another model.
"""
