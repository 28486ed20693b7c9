"""Readers of data files: one module for each family of formats.

`registry` finds the reader of a format in the table of config/formats.py, checks that the file has that format, and
reads it. `common` has what readers share: numbered lines of UTF-8 text, and what a row is. The others are the readers:
`plain_text`, `delimited` (csv, tsv), `json_objects` (json, jsonl), `parquet`, `conll` (a word per line, in columns,
which `conll_columns` chooses and `conll_lines` separates) and `treebank` (a packaged sample).

A reader is a generator function `read(file, data, warnings)`, where `data` are the settings that say how the file is
read. It yields pairs (line, row): the number of the line that a row begins on, and its columns by name. A reader of
large files may yield record batches instead, with the line of each row in the column `LINE`. It raises UserError with
file and line for a malformed row, and appends to `warnings` what a user should know about a file that it can read.
Which column plays which role, and what its values may be, is decided later (data/columns.py); a reader that knows the
roles returns `text` and `label`, or `tokens` and `tags`.
"""
