"""Rotten Tomatoes with a pretrained BERT: MiniLM from a pip package, or any checkpoint of the Hub.

Run it, or with a network:

    python recipes/sentiment_bert.py
    python recipes/sentiment_bert.py --model.checkpoint google-bert/bert-base-uncased --optim.learning-rate 2e-5
"""

from pipeline import Data, Optim, Pretrained, Recipe, Train, main

recipe = Recipe(
    name="sentiment-bert",
    task="sentiment",
    data=Data(source="sample:rotten_tomatoes", max_length=128),
    model=Pretrained(checkpoint="sample:minilm"),
    optim=Optim(learning_rate=1e-4),
    train=Train(epochs=3, batch_size=32, precision="auto"),
)

if __name__ == "__main__":
    main(recipe)
