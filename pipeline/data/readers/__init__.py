"""Readers of data files: one module for each family of formats.

`registry` finds the reader of a format in the table of config/formats.py, checks that the file has that format, and
reads it. `common` has what readers share: the lines of text files, with `charset` for those that are not UTF-8, and
what a row is. `pieces` gives text whose lines may be as long as the file, and `record_batches` makes batches of rows.

- Tables as text: `delimited` (csv, tsv). `dialect` decides how a file is written: `separators`, `quoting` with
  `quotes`, and `headers`.
- JSON: `json_lines`; `json_objects`, whose forms are in `json_shapes`. Both parse with `json_values`.
- Binary tables: `parquet` and `arrow`, with the names of classes that `features` finds in their metadata.
- Texts: `plain_text`, and folders of `documents` or classes.
- Labelled lines: `labelled_lines`, `tree` and `paired_lines`.
- Translations: `parallel` files, `tmx`, and the message `catalogues` of a packaged sample.
- Words and tags: `conll` (a word per line; `conll_columns` chooses the `conll_layout`, by which `conll_lines` reads)
  and `treebank` (a packaged sample).

A reader is a generator function `read(file, data, warnings)`, where `data` are the settings that say how the file is
read. It yields pairs (line, row): the number of the line that a row begins on, and its columns by name. A reader of
large files may yield record batches instead, with the line of each row in the column `LINE`. It raises UserError with
file and line for a malformed row, and appends to `warnings` what a user should know about a file that it can read.
Which column plays which role, and what its values may be, is decided later (data/columns.py); a reader that knows the
roles returns `text` and `label`, or `tokens` and `tags`.
"""
