"""Other libraries train a model like ours on the same rows, each in a process and mostly an environment of its own.

`pairs` says which models those are and has the sides of a pair train in turn, `rows` writes the rows for both, and
`environments` installs a library at the versions in the file of its name. `in_pipeline`, `in_trainer`, `in_flair`,
`in_keras` and `in_ludwig` are the sides: programs that build the model in one library. They share `side`.
"""
