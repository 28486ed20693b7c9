"""Trains a small GPT-2 from scratch on movie reviews, to compare attention with the recurrent language models.

Run it:

    python recipes/next_word_gpt2.py

A pretrained GPT-2 uses another class of model settings. With network access, write a recipe that starts with
`from next_word_gpt2 import recipe`:

    recipe = replace(recipe, name="next-word-distilgpt2", model=Pretrained(checkpoint="distilbert/distilgpt2"),
                     data=replace(recipe.data, tokenizer=None, min_frequency=None, max_length=256))
"""

from dataclasses import replace

from next_word_rnn import recipe as rnn

from pipeline import Optim, Scratch, main

recipe = replace(
    rnn,
    name="next-word-gpt2",
    data=replace(rnn.data, max_length=128),
    model=Scratch(architecture="gpt2", hidden_size=128, layers=2, heads=4, dropout=0.2),
    optim=Optim(learning_rate=2e-3, schedule="cosine"),
    train=replace(rnn.train, batch_size=8),
)

if __name__ == "__main__":
    main(recipe)
