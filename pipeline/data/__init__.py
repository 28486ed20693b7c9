"""From a source to batches of encoded rows on disk.

`prepare` does all of this for a run and caches the result; `new_data` does it for a saved model and new data, and
`new_rows` reads rows that a model will predict from. The steps, in order: `sources` reads the rows of files and
packaged samples through `readers`, and those of Hub datasets through `hub_source`, in the batches of `rows`, and
divides them if there is a `split_column`; `annotations` turns the rows of annotation tools into words and tags;
`column_choice` decides which column is which, and `columns` reads their values, `list_texts` those that are lists
written as texts; `labels` gives labels their names and leaves out rows that have none; `unified_tags` converts tags to
one scheme, with `tag_names` (what each tag means), `tag_codes` (many sentences at once) and `tags` (one at a time);
`splits` carves missing splits; `checks` refuses or reports what is wrong, with `text_stats`; `tokenizer_choice` decides
which tokenizer it is, `tokenizers` trains one of the `tokenizer_kinds` or loads one, and `text_pairs` teaches it to
write two texts into one row; `encoding` encodes rows in the `background` while others are written; `fingerprints` tells
whether a later run finds the same.

Tasks encode rows with `word_patterns` (what a word is), `segmentation` (words of running text), `word_alignment` (words
to tokens, windows over a long sentence), `word_windows` (over many sentences at once) and `long_texts`. Encoded rows
become batches by similar length in `bucketing`, or as one stream of tokens in `streams`.

config/sources.py and config/formats.py find a source and list the formats of files, without importing torch.
"""
