"""From a source to batches of encoded rows on disk.

`prepare` does all of this for a run and caches the result; `new_data` does it for a saved model and new data, and
`new_rows` reads rows that a model will predict from. The steps, in order: `sources` reads the rows of files and
packaged samples through `readers`, and those of Hub datasets through `hub_source`, in the batches of `rows`, and
divides them if there is a `split_column`; `annotations` turns the rows of annotation tools into words and tags;
`translations` gives each language a column;
`column_choice` decides which column is which, by `column_values` where the names do not say, and by `problem_types`
what the labels are; `columns` reads their values, with `list_texts` those that are lists written as texts, and
`split_writer` writes them to disk; `labels` gives labels their names and leaves out rows that
have none; `tagging` converts tags to one scheme; `splits` carves missing splits; `checks` refuses or reports what is
wrong, with `text_stats`; `tokenization` trains or loads a tokenizer; `encoding` encodes rows in the `background` while
others are written; `source_rows` keeps what the rows of scored splits are, and where they stand; `fingerprints` tells
whether a later run finds the same.

Encoded rows become batches by similar length in `bucketing`, which reads those of several batches at once by
`gathering`, or as one stream of tokens in `streams`.

config/sources.py and config/formats.py find a source and list the formats of files, without importing torch.
"""
