#!/usr/bin/env bash
# Version: transformers 5.23.0, tokenizers 0.23.3.
# Behaviour: a subclass of PreTrainedTokenizerFast with an __init__, even one that only calls super().__init__, loads
#   its own saved folder without the normalizer and the pre-tokenizer in tokenizer.json, and as a BPE without merges.
#   from_pretrained passes such a class the vocabulary, but not the rest of the file. There is no warning, and the ids
#   differ.
# Expected: an __init__ that passes on all arguments changes nothing. The file is complete: without the __init__, and
#   with the base class, the same folder loads as it was saved.
# Observed:
#   Plain: saved [1, 4, 2], loaded [1, 4, 2], by the base class [1, 4, 2]; WordLevel, normalizer kept
#   WithInit: saved [1, 4, 2], loaded [4, 2], by the base class [1, 4, 2]; BPE, normalizer lost
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    transformers==5.23.0 tokenizers==0.23.3 huggingface-hub==2.4.0

cat > "$folder/load.py" <<'PYTHON'
import tempfile

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast


class Plain(PreTrainedTokenizerFast):
    pass


class WithInit(PreTrainedTokenizerFast):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)


words = Tokenizer(models.WordLevel({"[UNK]": 0, "a": 1, "b": 2, "c": 3, "-": 4}, unk_token="[UNK]"))
words.normalizer = normalizers.Lowercase()
words.pre_tokenizer = pre_tokenizers.Punctuation()
for kind in (Plain, WithInit):
    with tempfile.TemporaryDirectory() as folder:
        saved = kind(tokenizer_object=words, unk_token="[UNK]")
        saved.save_pretrained(folder)
        loaded = kind.from_pretrained(folder)
        base = PreTrainedTokenizerFast.from_pretrained(folder)
        ids = [tokenizer("A-b")["input_ids"] for tokenizer in (saved, loaded, base)]
        model = type(loaded.backend_tokenizer.model).__name__
        kept = "kept" if loaded.backend_tokenizer.normalizer is not None else "lost"
        given = f"saved {ids[0]}, loaded {ids[1]}, by the base class {ids[2]}"
        print(f"{kind.__name__}: {given}; {model}, normalizer {kept}")
PYTHON

export HF_HUB_OFFLINE=1
"$folder/venv/bin/python" "$folder/load.py" | tee "$folder/seen"

cat > "$folder/expected" <<'TEXT'
Plain: saved [1, 4, 2], loaded [1, 4, 2], by the base class [1, 4, 2]; WordLevel, normalizer kept
WithInit: saved [1, 4, 2], loaded [4, 2], by the base class [1, 4, 2]; BPE, normalizer lost
TEXT
if ! diff "$folder/expected" "$folder/seen"; then
    echo "the behaviour has changed" >&2
    exit 1
fi
