"""What is specific to a task: columns, targets, scores and predictions.

`base` holds the class that all tasks subclass. `sentiment` gives each text a label, `ner` gives each word a tag, and
`next_word` predicts the next token.
"""
