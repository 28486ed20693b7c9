"""Fine-tunes a pretrained BERT on Rotten Tomatoes.

The checkpoint is MiniLM, from a pip package. With network access, use any checkpoint from the Hub:

    python recipes/sentiment_bert.py
    python recipes/sentiment_bert.py --model.checkpoint google-bert/bert-base-uncased
"""

from pipeline import Data, Optim, Pretrained, Recipe, Train, main

recipe = Recipe(
    name="sentiment-bert",
    task="sentiment",
    data=Data(source="sample:rotten_tomatoes", max_length=128),
    model=Pretrained(checkpoint="sample:minilm"),
    optim=Optim(learning_rate=5e-5),
    train=Train(epochs=4, batch_size=32, precision="auto"),
)

if __name__ == "__main__":
    main(recipe)
