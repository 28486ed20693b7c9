"""What a run is, without torch: everything that can be refused in a tenth of a second.

A recipe (`recipe`) consists of sections: `data`, `models`, `training` (with the optimiser) and `hub`. `schema` checks
the name, type and range of each setting when a value is made, and `task_specs` says which task uses which settings.
`loading` reads a recipe from its file and the flags of a command line, and `serialization` reads it from JSON.

What a setting names is found by `paths` (models, tokenizers, vectors), `sources` (data, in the `formats` of files) and
`samples` (pip packages). `references` lists the settings that may name something on the Hub, and `offline` finds a
folder that `finetune fetch` has filled.
"""
