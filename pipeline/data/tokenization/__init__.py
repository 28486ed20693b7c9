"""From texts and words to tokens.

`tokenizer_choice` decides which tokenizer a run has; `tokenizers` trains one of the `tokenizer_kinds` or loads one.
`saved_forms` prepares it for plain transformers, with `written_blanks` for models that continue texts.
`word_patterns` says what a word is, and `segmentation` cuts running text into words as the training data was cut. For
lists of words there are `word_alignment` (words to tokens, windows over a long sentence) and `word_windows` (the same
for many sentences at once); for texts, `long_texts` (longer than the model reads), `text_pairs` (two in one row) and
`translated` (one and its translation).
"""
