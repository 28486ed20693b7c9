"""What is specific to a task: columns, targets, scores and predictions.

`base` holds the class that all tasks subclass. `ner` gives each word a tag, with `ner_encoding` and `ner_scoring`, and
`next_word` predicts the next token. An answer for each text, or for each pair of texts, is the subject of
`text_answers`: how they are read. What an answer is differs: in `sentiment` one label, in `multi_label` any number of
labels, in `regression` a number. A recipe names all three `sentiment`; which of them it is, the labels of the data tell
(`Task.variant`).
`translation` writes a text for each text; how an encoder-decoder does that is in `translating`, and `attended_rows`
keeps what it has looked at for a few rows.

A task that learns from a teacher has the `teacher_hooks`. `ner_teacher` and `next_word_teacher` are what a teacher says
about words and tokens, and what that costs a student.
`next_word_cache` scores a language model together with a `word_cache`. `batching` puts texts that are to be predicted
from into batches.
"""
