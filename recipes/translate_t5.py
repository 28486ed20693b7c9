"""Fine-tunes T5 (Raffel et al. 2020) to translate messages. It needs a network, as no pip package has the checkpoint.

T5 needs an instruction in front of each text, which data.prefix sets:

    python recipes/translate_t5.py
    python recipes/translate_t5.py --data.source sample:plone_fr --data.prefix "translate English to French: "
"""

from dataclasses import replace

from translate_lstm import recipe as lstm

from pipeline import Optim, Pretrained, main

recipe = replace(
    lstm,
    name="translate-t5",
    data=replace(lstm.data, vocab_size=None, prefix="translate English to German: "),
    model=Pretrained(checkpoint="google-t5/t5-small"),
    optim=Optim(learning_rate=3e-4),
    train=replace(lstm.train, epochs=5),
)

if __name__ == "__main__":
    main(recipe)
