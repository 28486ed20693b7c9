#!/usr/bin/env bash
# Version: transformers 5.23.0, tokenizers 0.23.3.
# Behaviour: AutoTokenizer.from_pretrained of a folder whose tokenizer is a plain PreTrainedTokenizerFast asks at a
#   terminal whether to run custom code, and waits 15 seconds, if config.json names code for the model. The tokenizer
#   does not need that code: it loads if the answer is no, and if nobody answers.
# Expected: no question, as tokenizer_config.json names no code; or an error if the answer is no.
# Observed:
#   nobody answers: a question, loaded
#   answered no: a question, loaded
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    transformers==5.23.0 tokenizers==0.23.3 huggingface-hub==2.4.0

cat > "$folder/make.py" <<'PYTHON'
import json
import pathlib
import sys

from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

folder = pathlib.Path(sys.argv[1])
words = Tokenizer(models.WordLevel({"[UNK]": 0, "a": 1}, unk_token="[UNK]"))
words.pre_tokenizer = pre_tokenizers.Whitespace()
PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]").save_pretrained(folder)
code = {"AutoConfig": "configuration_mine.MineConfig"}
(folder / "config.json").write_text(json.dumps({"model_type": "mine", "auto_map": code}))
(folder / "configuration_mine.py").write_text(
    "from transformers import PreTrainedConfig\n\n\nclass MineConfig(PreTrainedConfig):\n    model_type = 'mine'\n"
)
PYTHON

cat > "$folder/load.py" <<'PYTHON'
import sys

from transformers import AutoTokenizer

print("loaded", AutoTokenizer.from_pretrained(sys.argv[1])("a")["input_ids"])
PYTHON

cat > "$folder/terminal.py" <<'PYTHON'
import os
import pty
import sys

command = [sys.executable, sys.argv[1], sys.argv[2]]
for title, answer in (("nobody answers", b""), ("answered no", b"n\n")):
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(command[0], command)
    text = b""
    while True:
        try:
            part = os.read(terminal, 4096)
        except OSError:  # the process has ended
            break
        if not part:
            break
        if b"[y/N]" in part and answer:
            os.write(terminal, answer)
        text += part
    os.waitpid(pid, 0)
    asked = "a question" if b"[y/N]" in text else "no question"
    print(f"{title}: {asked}, {'loaded' if b'loaded [1]' in text else 'not loaded'}")
PYTHON

export HF_HUB_OFFLINE=1 HF_HOME="$folder/home"
mkdir "$folder/model"
"$folder/venv/bin/python" "$folder/make.py" "$folder/model"
"$folder/venv/bin/python" "$folder/terminal.py" "$folder/load.py" "$folder/model" | tee "$folder/seen"

cat > "$folder/expected" <<'TEXT'
nobody answers: a question, loaded
answered no: a question, loaded
TEXT
if ! diff "$folder/expected" "$folder/seen"; then
    echo "the behaviour has changed" >&2
    exit 1
fi
