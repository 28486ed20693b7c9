"""A low-rank adapter, saved alone, of the model that transformer.py leaves."""

from dataclasses import replace

from pipeline import Lora, Pretrained

from sentiment import recipe as sentiment

recipe = replace(
    sentiment,
    name="adapter",
    model=Pretrained(checkpoint="finished/transformer/model", lora=Lora(rank=2, merge=False)),
    train=replace(sentiment.train, epochs=2),
)
