#!/usr/bin/env bash
# Version: transformers 5.23.0, tokenizers 0.23.3.
# Behaviour: a fast tokenizer reads tokenizer("a", "") as a single text: the empty second text is taken for none. In a
#   batch, the same two texts are a pair. A model of pairs (question and context, premise and hypothesis) that was
#   trained on batches sees another row when it is asked about one pair with an empty text.
# Expected: the same ids for the same two texts, alone and in a batch.
# Observed:
#   alone: [2, 1]
#   in a batch: [2, 1, 1]
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    transformers==5.23.0 tokenizers==0.23.3 huggingface-hub==2.4.0

cat > "$folder/pairs.py" <<'PYTHON'
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

words = Tokenizer(models.WordLevel({"[UNK]": 0, "[SEP]": 1, "a": 2}, unk_token="[UNK]"))
words.pre_tokenizer = pre_tokenizers.Whitespace()
words.post_processor = processors.TemplateProcessing(
    single="$A [SEP]", pair="$A [SEP] $B:1 [SEP]:1", special_tokens=[("[SEP]", 1)]
)
tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]", sep_token="[SEP]")
print("alone:", tokenizer("a", "")["input_ids"])
print("in a batch:", tokenizer(["a"], [""])["input_ids"][0])
PYTHON

export HF_HUB_OFFLINE=1
"$folder/venv/bin/python" "$folder/pairs.py" | tee "$folder/seen"

cat > "$folder/expected" <<'TEXT'
alone: [2, 1]
in a batch: [2, 1, 1]
TEXT
if ! diff "$folder/expected" "$folder/seen"; then
    echo "the behaviour has changed" >&2
    exit 1
fi
