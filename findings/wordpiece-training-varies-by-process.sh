#!/usr/bin/env bash
# Version: tokenizers 0.23.3.
# Behaviour: WordPieceTrainer learns a different vocabulary from the same texts in each process, so a text is then split
#   differently. There is no seed to set. The trainer breaks ties by the ids of pieces, and assigns the ids of letters
#   inside words in the order of a randomly seeded hash table. BpeTrainer, which does the same work, learns the same
#   vocabulary each time, unless it is given a continuing_subword_prefix.
# Expected: counting pieces involves no randomness, so the same texts give the same vocabulary, also on each process of
#   a distributed run.
# Observed:
#   WordPieceTrainer: several vocabularies in 8 processes
#   BpeTrainer: 1 vocabulary in 8 processes
#   BpeTrainer, continuing_subword_prefix: several vocabularies in 8 processes
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check tokenizers==0.23.3 huggingface-hub==2.4.0

cat > "$folder/train.py" <<'PYTHON'
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

TEXTS = [
    "the quick brown fox jumps over the lazy dog",
    "pack my box with five dozen liquor jugs",
    "how vexingly quick daft zebras jump",
    "sphinx of black quartz judge my vow",
    "the five boxing wizards jump quickly",
    "bright vixens jump while dozy fowl quack",
]
OPTIONS = {"vocab_size": 100, "show_progress": False}
KINDS = {
    "WordPieceTrainer": (models.WordPiece(unk_token="[UNK]"), trainers.WordPieceTrainer(**OPTIONS)),
    "BpeTrainer": (models.BPE(), trainers.BpeTrainer(**OPTIONS)),
    "BpeTrainer, continuing_subword_prefix": (
        models.BPE(continuing_subword_prefix="##"),
        trainers.BpeTrainer(continuing_subword_prefix="##", **OPTIONS),
    ),
}
for name, (model, trainer) in KINDS.items():
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.train_from_iterator(TEXTS, trainer)
    assert tokenizer.get_vocab_size() == 100
    print(f"{name}:", *sorted(tokenizer.get_vocab()))
PYTHON

# Rules out Python's hashes and threads as the cause.
export PYTHONHASHSEED=0 RAYON_NUM_THREADS=1
for _ in 1 2 3 4 5 6 7 8; do
    "$folder/venv/bin/python" "$folder/train.py"
done > "$folder/vocabularies"

for name in "WordPieceTrainer" "BpeTrainer" "BpeTrainer, continuing_subword_prefix"; do
    different=$(grep "^$name: " "$folder/vocabularies" | sort -u | wc -l)
    case $different in
        1) echo "$name: 1 vocabulary in 8 processes" ;;
        *) echo "$name: several vocabularies in 8 processes" ;;
    esac
done | tee "$folder/seen"

cat > "$folder/expected" <<'TEXT'
WordPieceTrainer: several vocabularies in 8 processes
BpeTrainer: 1 vocabulary in 8 processes
BpeTrainer, continuing_subword_prefix: several vocabularies in 8 processes
TEXT
if ! diff "$folder/expected" "$folder/seen"; then
    echo "the behaviour has changed" >&2
    exit 1
fi
