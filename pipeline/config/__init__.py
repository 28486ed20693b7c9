"""The settings of a run. Nothing here imports torch, so a mistake is refused in a tenth of a second.

A recipe (`recipe`) consists of sections: `data`, `models`, `training` (with the optimiser), `hub` and `distil`.
`schema` checks the name, type and range of each setting when a section is created, and `task_specs` says which task
uses which settings. `loading` reads a recipe from its file and command-line flags, and `serialization` reads it from
JSON. `study` holds a value that stands for many runs, `expansion` turns it into their recipes, and `changes` gives a
recipe other settings. `export` says what `finetune export` may be asked for.

`files` finds the files of each split and their formats; `archives` opens compressed ones. `looks_like_conll`
recognises files of words and tags, whose spellings are in `tag_forms`.

`paths` (models, tokenizers, vectors), `sources` (data, in the `formats` of files) and `samples` (pip packages) find
what a setting names. `references` lists the settings that may name something on the Hub, and `offline` recognises a
folder that `finetune fetch` has filled.
"""
