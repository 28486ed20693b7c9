"""Rows as annotation tools write them, turned into rows of words and tags, or of a text and its label; and back.

`registry` asks the module of each tool whether it knows the first rows, and has it convert all of them: `label_studio`,
`prodigy`, `spacy`, `span_rows` (doccano and all other rows of a text and its spans), `span_tables` (a span in each
row), `token_spans` (GLiNER), `list_strings` (lists as texts in the cells of a table) and `word_rows` (a word in each
row). `brat` reads a folder. `files` reads the files of a tool that data.format names, which may have any suffix.

They share `conversion`, which makes a row of a text and its spans: `shapes` finds the spans in JSON, `offsets` finds
out what their offsets count, and `spans` cuts the text into words, unless it has `own_words`, and gives each its
tag. `notes` counts what was changed or left out. `export` writes the answers of `finetune predict` for these tools.
"""
