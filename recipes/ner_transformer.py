"""Finds named entities in tweets with a small BERT on words, trained from scratch.

It shows what attention does without pretraining:

    python recipes/ner_transformer.py
"""

from dataclasses import replace

from ner_bert import recipe as bert

from pipeline import Optim, Scratch, main

recipe = replace(
    bert,
    name="ner-transformer",
    data=replace(bert.data, tokenizer="word"),
    model=Scratch(architecture="bert", hidden_size=128, layers=2, heads=4, dropout=0.3),
    optim=Optim(learning_rate=1e-3),
    train=replace(bert.train, epochs=12),
)

if __name__ == "__main__":
    main(recipe)
