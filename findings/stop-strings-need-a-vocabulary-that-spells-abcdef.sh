#!/usr/bin/env bash
# Version: transformers 5.23.0, tokenizers 0.23.3.
# Behaviour: stop strings fail for a vocabulary of words, because transformers finds out how a token is written by
#   decoding it behind "abcdef", which such a vocabulary turns into the unknown token. So do those of characters in
#   which one of these letters is missing, such as a Hebrew one. The same words spelled as a byte-level vocabulary work.
# Expected: a stop string that the tokenizer can write, or an error that says what is missing.
# Observed:
#   words: ValueError: substring not found
#   the same in bytes: True
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    transformers==5.23.0 tokenizers==0.23.3 huggingface-hub==2.4.0 torch==2.13.0

cat > "$folder/stop.py" <<'PYTHON'
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast
from transformers.generation import StopStringCriteria


def stops(vocabulary, pre_tokenizer, decoder=None):
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizer
    if decoder is not None:
        words.decoder = decoder
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>")
    try:
        criterion = StopStringCriteria(tokenizer, ["is a"])
    except ValueError as error:
        return f"ValueError: {error}"
    return bool(criterion(torch.tensor([tokenizer("the film is a")["input_ids"]]), None)[0])


blanks = pre_tokenizers.WhitespaceSplit()
print("words:", stops({"<unk>": 0, "the": 1, "film": 2, "is": 3, "a": 4}, blanks))
in_bytes = pre_tokenizers.Sequence([blanks, pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=False)])
vocabulary = {"<unk>": 0, "Ġthe": 1, "Ġfilm": 2, "Ġis": 3, "Ġa": 4}
print("the same in bytes:", stops(vocabulary, in_bytes, decoders.ByteLevel()))
PYTHON

export HF_HUB_OFFLINE=1
"$folder/venv/bin/python" "$folder/stop.py" | tee "$folder/seen"

cat > "$folder/expected" <<'TEXT'
words: ValueError: substring not found
the same in bytes: True
TEXT
if ! diff "$folder/expected" "$folder/seen"; then
    echo "the behaviour has changed" >&2
    exit 1
fi
