"""From a source to batches of encoded rows on disk.

`prepare` tells the whole story for a run, and caches its end; `new_data` tells it for a saved model and new data. Its
steps, in order: `sources` reads the rows of files and packaged samples through `readers`, and of the Hub through
`hub_source`; `columns` finds the columns that a task needs and reads their values; `tags` brings tags into one scheme;
`splits` carves what is missing; `checks` refuses or reports what is wrong, with `text_stats`; `tokenizers` trains or
loads a tokenizer.

Tasks encode rows with `word_patterns` (what a word is) and `word_alignment` (words to tokens, windows over long
sentences). Encoded rows become batches by similar length in `bucketing`, or as one stream of tokens in `streams`.

Where a source is, and which formats files may have, is known without importing torch: config/sources.py and
config/formats.py.
"""
