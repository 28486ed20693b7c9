"""Bad input through the whole command, in this process: one line, exit code 2, nothing left behind; odd input is taken.

A case is what lies in the folder, the arguments, and what the line must say. `finetune run tiny.py` trains for two
updates on ok.csv.
"""

from __future__ import annotations

import gzip
import json
import os
import pickle
import re
import shutil
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from conftest import finetune_here
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertModel

from pipeline import storage
from pipeline.cli import main
from pipeline.config.loading import load_recipe, override
from pipeline.training.checkpointing import checkpoint, serialization

TINY = """from pipeline import Data, Recipe, Recurrent, Scratch, Train
recipe = Recipe(name="tiny", task="sentiment", data=Data(source="ok.csv"), model={model},
                train=Train(max_steps=2, batch_size=8, output_dir="out"))
"""
PAIRS = [(f"good film {n}", "pos") if n % 2 else (f"bad mess {n}", "neg") for n in range(40)]
VECTORS = "good 0.1 0.2\nbad 0.3 0.4\nfilm 0.5 0.6\n"
ROWS = [{"text": text, "label": label} for text, label in PAIRS]


def table(pairs=PAIRS, head="text,label", separator=",", end="\n") -> str:
    return end.join([head, *(f"{text}{separator}{label}" for text, label in pairs)]) + end


def jsonl(*more: str) -> str:
    return "".join(f"{line}\n" for line in [*(json.dumps(row) for row in ROWS), *more])


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """An empty working folder with the recipes, good data and a separate cache."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FINETUNE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "ok.csv").write_text(table())
    (tmp_path / "tiny.py").write_text(TINY.format(model="Recurrent(hidden_size=8, embedding_size=8)"))
    (tmp_path / "bare.py").write_text(TINY.format(model="Recurrent(hidden_size=8)"))
    (tmp_path / "bert.py").write_text(TINY.format(model="Scratch(hidden_size=8, heads=2, layers=1)"))
    return tmp_path


def write(name: str, content: str | bytes) -> str:
    file = Path(name)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return name


def finetune(capfd, *arguments: str, stdin: bytes = b"") -> tuple[int, str, str]:
    """Exit code, stdout and stderr of the command."""
    done = finetune_here(capfd, *arguments, stdin=stdin)
    return done.returncode, done.stdout, done.stderr


def refused(capfd, *arguments: str, says: str, stdin: bytes = b"") -> None:
    """Hold a refusal to the bar: code 2, one line or the parser's box, no library's voice, nothing half-written."""
    code, out, err = finetune(capfd, *arguments, stdin=stdin)
    # What the data holds may have been printed before.
    assert (code, [line for line in out.splitlines() if not line.startswith("data: ")]) == (2, []), err
    if err.startswith("╭"):
        assert not re.search(r"\w(Error|Exception|Warning)\b|Traceback", err)
        err = " ".join(re.sub(r"[│╭╮╰╯─]", " ", err).split())
    else:
        assert re.fullmatch(r"error: .*\n", err)
        assert not re.search(r"Error|Exception|Warning|Traceback", err)
    assert says in err
    assert not Path("out").exists()
    assert not list(Path("cache").glob(".writing*"))


# name of the file, its content, and what the refusal says
MALFORMED = {
    "empty": ("a.csv", "", "a.csv: the file is empty"),
    "blank": ("a.csv", "\n \n", "a.csv:1: no header"),
    "header only": ("a.csv", "text,label\n", "a.csv: it has no rows"),
    "latin-1": ("a.csv", table().encode() + b"caf\xe9,pos\n", "set data.encoding to cp1252"),
    "a NUL": ("a.csv", table().replace("good", "go\0od", 1), "a.csv: a NUL at byte 28"),
    "half a gzip": ("a.csv", gzip.compress(table().encode())[:99], "the gzip archive is damaged or incomplete"),
    "zip": ("a.csv", b"PK\x03\x04...", "a zip archive (or an Office document)"),
    "png": ("a.csv", b"\x89PNG\r\n\x1a\n", "not UTF-8 at byte 0"),
    "ragged": ("a.csv", table() + "a,b,c\n", "a.csv:42: 3 fields, but the header has 2"),
    "too short": ("a.csv", table() + "only\n", "a.csv:42: 1 field, but the header has 2"),
    "unclosed quote": ("a.csv", table() + '"a,b,pos\nx,neg\n', "a.csv:42: the quotation mark that opens a field is"),
    "doubled column": ("a.csv", table(head="text,text"), "two columns are called 'text'"),
    "no header": ("a.csv", table()[11:], "no column looks like the text"),
    "two texts": ("a.csv", "text,review,label\na,b,c\n", "which column holds the text, text or review?"),
    "texts only": ("a.csv", "text\na\nb\n", "it has texts only, no labels"),
    "plain text": ("a.txt", "a\nb\n", "it has texts only, no labels"),
    "Word": ("a.docx", "a", "a.docx: .docx files cannot be read; write the texts and labels to"),
    "no suffix": ("a", "a", "it has texts only, no labels"),
    "one label": ("a.csv", table([(text, 1) for text, _ in PAIRS]), "at least two classes are needed"),
    "ids as labels": ("a.csv", table([(text, text) for text, _ in PAIRS]), "these are not classes"),
    "no label in any row": ("a.csv", table([(text, "") for text, _ in PAIRS]), "a.csv: no row of train has a label"),
    "three rows": ("a.csv", table(PAIRS[:3]), "3 rows are too few to carve validation and test from"),
    "no text": ("a.csv", table([(" ", label) for _, label in PAIRS]), "it has no rows with a text"),
    "broken line": ("a.jsonl", jsonl("{broken"), "a.jsonl:41: not JSON at column 2"),
    "cut line": ("a.jsonl", jsonl()[:-5], "a.jsonl:40: not JSON"),
    "scalar line": ("a.jsonl", jsonl("3"), "a.jsonl:41: expected an object with named fields, found 3"),
    "list as text": ("a.jsonl", jsonl('{"text": ["a"], "label": "pos"}'), "a.jsonl:41: the text is a list"),
    "object as label": ("a.jsonl", jsonl('{"text": "a", "label": {}}'), "a.jsonl:41: the label is an object"),
    "missing field": ("a.jsonl", jsonl('{"label": "pos"}'), "a.jsonl:41: the row has no field 'text'"),
    "half a surrogate": ("a.jsonl", jsonl('{"text": "\\ud800", "label": "pos"}'), "fix the \\u escape"),
    "nested deeply": ("a.jsonl", jsonl("[" * 100_000), "a.jsonl:41: JSON nested too deeply"),
    "no list": ("a.json", '{"a": 1}', "expected a list of objects"),
    "endless number": ("a.json", f"[{'9' * 5000}]", "a.json:1: not JSON"),
    "csv as parquet": ("a.parquet", table(), "not a readable parquet file"),
    "only a test split": ("f/test.csv", table(), "it has no training split, only test"),
    "no split at all": ("f/notes.md", "a", "no train.*, validation.* or test.* in it"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_data_is_refused_with_its_place(place, capfd, case):
    name, content, says = MALFORMED[case]
    refused(capfd, "run", "tiny.py", "--data.source", write(name, content).partition("/")[0], says=says)


def test_data_that_is_not_a_file_is_refused_and_not_waited_for(place, capfd):
    os.mkfifo("pipe.csv")
    os.symlink("gone", "link.csv")
    for source, says in (("pipe.csv", "a pipe or a device"), ("link.csv", "a link to a file that does not exist")):
        refused(capfd, "run", "tiny.py", "--data.source", source, says=says)


def test_damaged_parquet_is_refused(place, capfd):
    pq.write_table(pa.Table.from_pylist(ROWS), "ok.parquet")
    pq.write_table(pa.table({"text": [b"\xff"] * 9, "label": ["a", "b", "c"] * 3}), "bytes.parquet")
    write("cut.parquet", Path("ok.parquet").read_bytes()[:-50])
    for name, says in (("cut.parquet", "not a readable parquet file"), ("bytes.parquet", ":1: the text is bytes")):
        refused(capfd, "run", "tiny.py", "--data.source", name, says=says)


UNUSUAL = {
    "BOM and CRLF": ("a.csv", b"\xef\xbb\xbf" + table(end="\r\n").encode()),
    "CR alone": ("a.csv", table(end="\r")),
    "UTF-16": ("a.csv", table().encode("utf-16")),
    "gzip without its suffix": ("a.csv", gzip.compress(table().encode())),
    "semicolons": ("a.csv", table(head="text;label", separator=";")),
    "tabs in csv": ("a.csv", table(head="text\tlabel", separator="\t")),
    "commas in tsv": ("a.tsv", table()),
    "a column without a name": (
        "a.csv",
        table([(f"{n},{text}", label) for n, (text, label) in enumerate(PAIRS)], ",text,label"),
    ),
    "quotation marks in text": ("a.tsv", table([*PAIRS, ('"good" , she said', "pos")], "text\tlabel", "\t")),
    "blank lines": ("a.csv", table().replace("\n", "\n\n")),
    "quoted line breaks": ("a.csv", "text,label\n" + "".join(f'"good, ""x""\nfilm {n}",{n % 2}\n' for n in range(40))),
    "emoji and direction marks": ("a.csv", table([(f"👍🏽 \u202eשלום\u200f {n}", n % 2) for n in range(40)])),
    "10 MB in a line": ("a.csv", table([*PAIRS, ("x" * 1_000_000, "pos"), ("word " * 2_000_000, "neg")])),
    "5,000 words": ("a.csv", table([(f"{'word ' * 5000}{n}", n % 2) for n in range(20)])),
    "odd line ends": ("a.csv", table([(f"a\u2028b\x85c\x0bd {n}", n % 2) for n in range(40)])),
    "punctuation alone": ("a.csv", table([("!?" * n + ".", n % 2) for n in range(40)])),
    "no blanks": ("a.csv", table([(f"这部电影很好看{n}", n % 2) for n in range(40)])),
    "numbers as labels": ("a.csv", table([(text, float(label == "pos")) for text, label in PAIRS])),
    "many small classes": ("a.csv", table([(text, n % 10) for n, (text, _) in enumerate(PAIRS)])),
    "nothing as text": ("a.jsonl", jsonl('{"text": null, "label": "pos"}')),
    "BOM in jsonl": ("a.jsonl", "\ufeff" + jsonl().replace("\n", "\r\n\r\n")),
    "list in an object": ("a.json", json.dumps({"version": 1, "data": ROWS})),
    "blanks in the header": ("a.csv", table(head=" Text , Label ")),
    "capital suffix": ("A.CSV", table()),
    "a name in Hebrew": ("הקובץ שלי.csv", table()),
}


@pytest.mark.parametrize("case", UNUSUAL)
def test_unusual_data_is_accepted(place, capfd, case):
    code, _, err = finetune(capfd, "run", "tiny.py", "--data.source", write(*UNUSUAL[case]))
    assert (code, err) == (0, "")


SETTINGS = [
    ("--train.epochs 0", "train.epochs: 0 is out of range"),
    ("--train.epochs 99999999999999999999", "out of range"),
    ("--optim.learning-rate nan", "nan is not a number"),
    ("--optim.schedule cos", "--optim.schedule"),
    ("--train.precision fp16", "--train.precision"),
    ("--data.validation-share 0.95", "leaves nothing to train on"),
    ("--data.tokenizer ''", "data.tokenizer: it is empty"),
    ("--data.source ''", "data.source: it is empty"),
    ("--data.source org/name", "data.source: org/name is not a local folder, and the Hub cannot be reached"),
    ("--hub.private", "hub.private: it has no effect without hub.push; set hub.push, or remove this setting"),
    ("--hub.push --hub.repo-id a/b/c", "hub.repo_id: 'a/b/c' is not a valid repository; use user/name"),
    ("--hub.push --hub.revision a..b", "hub.revision: 'a..b' cannot name a branch; use letters"),
    ("--data.tokenizer-revision v1", "data.tokenizer_revision: data.tokenizer is not a Hub id; set it to one"),
    ("--data.source nothing.csv", "data.source: there is no file or folder nothing.csv"),
    ("--data.revision main", "ok.csv is a local file or folder, which has none"),
    ("--data.text-column txt", "ok.csv has no column 'txt'; did you mean text?"),
    ("--data.text-column label", "'label' is used for text and for label"),
    ("--model.hidden-size 1000000000", "this model is too large to build"),
    ("--model.embedding-size 2000000000", "but this machine has"),
    ("--model.layers 1000000", "model.layers: 1000000 is out of range"),
    ("--model.heads 3", "--model.heads"),
    ("--name a/b", "'a/b' cannot name a folder"),
    ("--task json:loads", "task: json:loads is not a task; it must be a subclass of pipeline.tasks.base.Task"),
    ("--task no.such:Task", "task: cannot load 'no.such:Task': No module named 'no'"),
    ("--train.output-dir ok.csv", "ok.csv is a file; name a folder"),
    ("--train.output-dir ok.csv/run", "ok.csv is a file; name a folder"),
    ("--train.output-dir " + "a" * 300, "cannot be a path"),
]


@pytest.mark.parametrize(("flags", "says"), SETTINGS, ids=[flags[:40] for flags, _ in SETTINGS])
def test_an_impossible_setting_is_refused(place, capfd, flags, says):
    refused(capfd, "run", "tiny.py", *(flag.strip("'") for flag in flags.split(" ")), says=says)


def test_a_transformer_accepts_only_its_own_settings(place, capfd):
    refused(capfd, "run", "bert.py", "--model.heads", "3", says="model.heads: 3 does not divide model.hidden_size 8")
    refused(capfd, "run", "bert.py", "--model.cell", "lstm", says="--model.cell")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("good 1 2 3\nbad 4 5\n", "v.txt:2: "),
        ("good a b c\n", "v.txt:1: a b c ... is not a vector of 3 numbers"),
        ("zzz 1 2 3\n", "has no vector for any of the"),
        ("", "has no vector for any of the"),
        ("good nan 2 3\n", "expected a word and 3 finite numbers"),
        ("5 300\ngood 1 2 3\n", "v.txt:2: good 1 2 ... is not a vector of 300 numbers"),
        (b"2 3\ngood \x00\xff\xfe\n", "or use the text format"),
    ],
)
def test_malformed_vectors_are_refused(place, capfd, content, says):
    refused(capfd, "run", "bare.py", "--model.vectors", write("v.txt", content), says=says)


RECIPES = [
    ("{", "not JSON"),
    ("[]", "not a recipe; it must be a JSON object"),
    ({"foo": 1}, "foo: no such setting"),
    ({"train": {"epoch": 1}}, "train.epoch: no such setting; did you mean epochs?"),
    ({"train": {"epochs": "3"}}, "train.epochs: '3' is not an integer"),
    ({"train": {"epochs": True}}, "train.epochs: True is not an integer"),
    ({"model": {"kind": "recurent"}}, "did you mean recurrent?"),
    ({"model": {"kind": [1]}}, "unknown kind of model [1]"),
    ({"model": {"kind": "os:system"}}, "os:system is not a kind of model"),
    ({"data": []}, "data: [] is not a JSON object of settings"),
    ("[" * 100_000, "nested too deeply"),
    (b'{"name": "\xe9"}', "not UTF-8 at byte 10"),
]


@pytest.mark.parametrize(("change", "says"), RECIPES, ids=[str(change)[:30] for change, _ in RECIPES])
def test_a_malformed_recipe_is_refused(place, capfd, change, says):
    content = change
    if isinstance(change, dict):
        values = json.loads(load_recipe("tiny.py").to_json())
        for name, value in change.items():
            values[name] = {**values[name], **value} if isinstance(value, dict) else value
        content = json.dumps(values)
    refused(capfd, "run", write("r.json", content), says=says)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A finished run."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "ok.csv").write_text(table())
    (folder / "tiny.py").write_text(TINY.format(model="Recurrent(hidden_size=8, embedding_size=8)"))
    recipe = override(load_recipe(str(folder / "tiny.py")), ["--train.save-every", "1"], "")
    settings = ["--data.source", str(folder / "ok.csv"), "--train.output-dir", str(folder / "run")]
    from pipeline.run import train

    train(override(recipe, settings, ""))
    return folder / "run"


def change_config(folder: Path, **values) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | values))


def change_tokenizer(folder: Path, **values) -> None:
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def change_weights(folder: Path, **values) -> None:
    weights = load_file(folder / "model.safetensors") | {name.replace("__", "."): v for name, v in values.items()}
    kept = {name: value for name, value in weights.items() if value is not None}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})


# what is done to the folder of a good model, and what the refusal says
DAMAGES = {
    "no config": (lambda m: (m / "config.json").unlink(), "there is no config.json in it"),
    "no weights": (lambda m: (m / "model.safetensors").unlink(), "no *.safetensors file"),
    "no tokenizer": (lambda m: [file.unlink() for file in m.glob("*token*")], "there is no tokenizer in this folder"),
    "cut weights": (lambda m: os.truncate(m / "model.safetensors", 500), "damaged or not a safetensors file"),
    "a weight less": (lambda m: change_weights(m, classifier__weight=None), "is missing 1 of the weights"),
    "another shape": (lambda m: change_weights(m, classifier__weight=torch.zeros(2, 3)), "they do not belong together"),
    "NaN": (lambda m: change_weights(m, classifier__weight=torch.full((2, 8), torch.nan)), "that are not finite"),
    "another cell": (lambda m: change_config(m, cell_type="martian"), "cannot be loaded"),
    "size in words": (lambda m: change_config(m, hidden_size="eight"), "cannot be loaded"),
    "sizes apart": (lambda m: change_config(m, hidden_size=7), "Give only one of the two"),
    "a million layers": (lambda m: change_config(m, num_hidden_layers=10**6), "no model has more than 1000"),
    "misspelt field": (lambda m: change_config(m, hiden_size=8), "did you mean `hidden_size`?"),
    "three labels": (
        lambda m: change_config(m, id2label={"0": "a", "1": "b", "2": "c"}),
        "they do not belong together",
    ),
    "two labels of one name": (lambda m: change_config(m, id2label={"0": "a", "1": "a"}), "a different name"),
    "a label without an id": (
        lambda m: change_config(m, id2label={"0": "a", "5": "b"}),
        "each id from 0 to 1 a different name",
    ),
    "unknown type": (lambda m: change_config(m, model_type="martian"), "transformers does not know its model type"),
    "code of its own": (
        lambda m: change_config(m, model_type="evil", auto_map={"AutoConfig": "evil.Evil"}),
        "code that comes with it only runs if it is trusted",
    ),
    "architectures in numbers": (
        lambda m: ((m / "recipe.json").unlink(), change_config(m, architectures=[1])),
        "is a 1; expected ForSequenceClassification",
    ),
    "a recipe of no task": (
        lambda m: write(str(m / "recipe.json"), (m / "recipe.json").read_text().replace("sentiment", "os:getcwd")),
        "os:getcwd is not a task; it must be a subclass of pipeline.tasks.base.Task",
    ),
    "no length": (lambda m: change_tokenizer(m, model_max_length=0), "model_max_length in tokenizer_config.json is 0"),
    "length in words": (lambda m: change_tokenizer(m, model_max_length="x"), "its tokenizer cannot be loaded"),
    "no special tokens": (
        lambda m: (m / "tokenizer_config.json").unlink(),
        "tokenizer_config.json is missing",
    ),
    "tokenizer cut": (lambda m: write(str(m / "tokenizer.json"), "{"), "its tokenizer cannot be loaded"),
    "small embeddings": (
        lambda m: (change_config(m, vocab_size=5), change_weights(m, model__embed_tokens__weight=torch.zeros(5, 8))),
        "they do not belong together",
    ),
    "another head": (
        lambda m: BertModel(
            BertConfig(vocab_size=99, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
        ).save_pretrained(m),
        "is missing",
    ),
}


@pytest.mark.parametrize("case", DAMAGES)
def test_a_damaged_model_is_refused(place, trained, capfd, case):
    damage, says = DAMAGES[case]
    damage(Path(shutil.copytree(trained / "model", "m")))
    refused(capfd, "predict", "m", stdin=b"good film\n", says=says)


def test_code_next_to_a_model_is_not_run(place, trained, capfd):
    model = Path(shutil.copytree(trained / "model", "m"))
    change_config(model, auto_map={"AutoModelForSequenceClassification": "evil.Evil"})
    write("m/evil.py", "open('ran', 'w')")
    code, out, err = finetune(capfd, "predict", "m", stdin=b"good film\n")
    assert (code, err) == (0, "")
    assert json.loads(out)["label"] in ("pos", "neg")
    assert not Path("ran").exists()


# what is done to the folder of a good model, the settings of its training, and what the refusal says
UNFIT = {
    "revision": (lambda m: None, {"revision": "main"}, "model.revision: m is a local folder without revisions"),
    "other sizes": (lambda m: change_config(m, hidden_size=7, units=7), {}, "its config.json needs"),
    "dropout": (lambda m: change_config(m, model_type="gpt2", n_head=1), {"dropout": 0.5}, "model.checkpoint: m"),
}


@pytest.mark.parametrize("case", UNFIT)
def test_a_checkpoint_that_does_not_fit_the_recipe_is_refused(place, trained, capfd, case):
    damage, settings, says = UNFIT[case]
    damage(Path(shutil.copytree(trained / "model", "m")))
    write("tuned.py", TINY.format(model=f"Pretrained(checkpoint='m', **{settings})").replace("Scratch", "Pretrained"))
    refused(capfd, "run", "tuned.py", says=says)


@pytest.mark.parametrize("architecture", ["bert", "gpt2"])
def test_settings_that_a_pretrained_model_lacks_are_refused(place, capfd, architecture):
    model = f"Scratch(architecture={architecture!r}, hidden_size=8, heads=2, layers=1)"
    write("made.py", TINY.format(model=model).replace('"out"', '"made"').replace('"ok.csv"', '"ok.csv", max_length=16'))
    assert finetune(capfd, "run", "made.py")[0] == 0
    change_tokenizer(Path("made/model"), model_max_length=10**9)
    tuned = TINY.replace("Scratch", "Pretrained")
    write("long.py", tuned.format(model="Pretrained(checkpoint='made/model')"))
    refused(capfd, "run", "long.py", says="data.max_length: 256 is more than the 16 positions of the model; lower it")
    if architecture == "gpt2":
        write("drop.py", tuned.format(model="Pretrained(checkpoint='made/model', dropout=0.5)"))
        refused(capfd, "run", "drop.py", says="model.dropout: a gpt2 model has no dropout before its classifier")


class Evil:
    def __reduce__(self):
        return open, ("ran", "w")


def change_state(folder: Path, **values) -> None:
    file = folder / "state.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def change_optimizer(folder: Path, change) -> None:
    state = serialization.read(folder / "optimizer.safetensors")
    change(state)
    serialization.write(state, folder / "optimizer.safetensors")


# what is done to the newest checkpoint of an unfinished run
LOSSES = {
    "no state": lambda c: (c / "state.json").unlink(),
    "broken state": lambda c: write(str(c / "state.json"), "{"),
    "another state": lambda c: write(str(c / "state.json"), '{"steps": 1}'),
    "no object for a state": lambda c: write(str(c / "state.json"), "[]"),
    "a step in words": lambda c: change_state(c, step="one"),
    "a step below zero": lambda c: change_state(c, step=-1),
    "half a step": lambda c: change_state(c, epoch=0.5),
    "a score in words": lambda c: change_state(c, best_score="good"),
    "an empty optimiser": lambda c: write(str(c / "optimizer.safetensors"), ""),
    "a rate in words": lambda c: change_optimizer(c, lambda o: o["optimizer"]["param_groups"][0].update(lr="x")),
    "a schedule in words": lambda c: change_optimizer(c, lambda o: o["scheduler"].update(last_epoch="x")),
    "a schedule cut": lambda c: change_optimizer(c, lambda o: o["scheduler"].update(base_lrs=[])),
    "moments of another model": lambda c: change_optimizer(
        c, lambda o: [kept.update(exp_avg=torch.zeros(1)) for kept in o["optimizer"]["state"].values()]
    ),
    "no moments": lambda c: change_optimizer(
        c, lambda o: [kept.pop("exp_avg") for kept in o["optimizer"]["state"].values()]
    ),
    "another optimiser": lambda c: change_optimizer(c, lambda o: o.update(optimizer=3)),
    "cut weights": lambda c: os.truncate(c / "model.safetensors", 500),
    "a pickle that runs code": lambda c: write(str(c / "optimizer.safetensors"), pickle.dumps(Evil())),
    "no random state": lambda c: (c / "processes.safetensors").unlink(),
}


@pytest.mark.parametrize("case", LOSSES)
def test_a_damaged_checkpoint_is_refused_and_no_code_in_it_is_run(place, trained, capfd, case):
    run = Path(shutil.copytree(trained, "run"))
    (run / "metrics.json").unlink()
    newest = max((run / "checkpoints").iterdir())
    LOSSES[case](newest)
    storage.seal(newest)  # so that nothing else is wrong
    values = json.loads((run / "recipe.json").read_text())
    values["train"]["output_dir"] = "run"
    (run / "recipe.json").write_text(json.dumps(values))
    refused(capfd, "run", "run/recipe.json", says=f"{newest}: this checkpoint cannot be resumed")
    assert not Path("ran").exists()


@pytest.mark.parametrize(
    "content", ["{", "[]", "{}", '{"train": {}}', '{"train": {"seconds": "x"}, "test": 3}', b"\xff"], ids=str
)
def test_metrics_that_no_run_wrote_are_refused(place, capfd, content):
    write("r/metrics.json", content)
    refused(capfd, "compare", "r", says="r/metrics.json: ")


def test_a_cache_that_cannot_be_used_is_refused_and_a_damaged_one_is_rebuilt(place, capfd, monkeypatch):
    assert finetune(capfd, "run", "tiny.py")[0] == 0
    for file in Path("cache").rglob("*.*"):
        file.write_bytes(b"junk")
    code, _, err = finetune(capfd, "run", "tiny.py", "--train.overwrite")
    assert (code, err) == (0, "")
    shutil.rmtree("out")
    monkeypatch.setenv("FINETUNE_CACHE", "ok.csv")
    refused(capfd, "run", "tiny.py", says="FINETUNE_CACHE: cannot write to ok.csv: ")


def test_a_checkpoint_beyond_its_epoch_is_refused(place, trained, capfd):
    run = Path(shutil.copytree(trained, "run"))
    (run / "metrics.json").unlink()
    newest = max((run / "checkpoints").iterdir())
    change_state(newest, position=10**9, step=1)
    storage.seal(newest)
    values = json.loads((run / "recipe.json").read_text())
    values["train"]["output_dir"] = "run"
    write("run/recipe.json", json.dumps(values))
    refused(capfd, "run", "run/recipe.json", says="this checkpoint is at update 1000000000 of an epoch that has 4")


@pytest.mark.parametrize("content", ["{}", "[]", '{"sizes": {}}', '{"sizes": []}', None], ids=str)
def test_a_damaged_cache_entry_is_rebuilt(place, capfd, content):
    assert finetune(capfd, "run", "tiny.py")[0] == 0
    (entry,) = Path("cache").iterdir()
    if content is None:
        shutil.rmtree(entry)
        entry.write_text("a file where a folder was")
    else:
        (entry / "prepared.json").write_text(content)
    code, _, err = finetune(capfd, "run", "tiny.py", "--train.overwrite")
    assert (code, err) == (0, "")


def test_a_cache_entry_with_damage_that_keeps_every_size_is_rebuilt(place, capfd):
    assert finetune(capfd, "run", "tiny.py")[0] == 0
    for file in (*Path("cache").rglob("*.arrow"), *Path("cache").rglob("tokenizer*.json")):
        file.write_bytes(bytes(file.stat().st_size))
    code, _, err = finetune(capfd, "run", "tiny.py", "--train.overwrite")
    assert (code, err) == (0, "")


@pytest.mark.parametrize(
    "when",
    ["checkpoint.save_file", "serialization.save_file", "seal"],
)
def test_a_full_disk_is_one_line_and_nothing_is_left_behind(place, capfd, monkeypatch, when):
    def fail(*arguments, **options):
        raise SafetensorError("No space left on device (os error 28)")

    module = "pipeline.storage" if when == "seal" else "pipeline.training.checkpointing"
    monkeypatch.setattr(f"{module}.{when}", fail)
    code, _, err = finetune(capfd, "run", "tiny.py")
    assert code == 2
    assert re.fullmatch("error: train.output_dir: cannot write to out: .*; make room or name another folder\n", err)
    assert not Path("out").exists()


def test_a_run_that_diverges_at_once_leaves_nothing_behind(place, capfd):
    settings = ("--optim.learning-rate", "1e38", "--optim.warmup-ratio", "0", "--optim.weight-decay", "1e38")
    code, _, err = finetune(capfd, "run", "tiny.py", *settings)
    assert code == 2
    assert err.startswith("error: training: the loss is ")
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["doctor", "--model.cell", "gru"], "finetune doctor --model.cell: name the recipe before its settings"),
        (["run", "x" * 5000 + ".py"], "cannot be a path: File name too long"),
        (["compare", "x" * 5000], "cannot be a path: File name too long"),
        (["run", "tiny.py", "--data.tokenizer", "."], ".: there is no tokenizer in this folder"),
        (["predict", "x" * 5000], "cannot be a path: File name too long"),
        (["predict", "./nothing"], "model: there is no folder ./nothing"),
        (["predict", "ok.csv"], "model: ok.csv is a file; give the folder of a model"),
        (["predict", ".", "--input", "oks.csv"], "input: there is no file oks.csv; did you mean ok.csv?"),
        (["predict", ".", "--input", "ok.csv", "--output", "a.xlsx"], "output: a.xlsx must end with .jsonl or .csv or"),
        (["predict", ".", "--input", "ok.csv", "--output", "no/a.csv"], "output: there is no folder no; name a file"),
        (["predict", ".", "--input", "ok.csv", "--output", "ok.csv"], "output: ok.csv is also the input; name another"),
        (["predict", ".", "--separator", ";"], "separator: standard input is read as one text per line; give --input"),
        (["predict", "."], "model: . is not the folder of a model; there is no config.json in it"),
        (["evaluate", ".", "--data", "ok.csv"], "model: . is not the folder of a model; there is no config.json in it"),
        (
            ["evaluate", ".", "--data", "okk.csv"],
            "data.source: there is no file or folder okk.csv; did you mean ok.csv",
        ),
    ],
    ids=lambda value: str(value)[:40],
)
def test_missing_files_named_on_the_command_line_are_refused(place, capfd, arguments, says):
    refused(capfd, *arguments, says=says)


def test_a_closed_standard_input_is_refused(place, trained, capfd, monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    assert main.exit_code(lambda: main._dispatch(["predict", str(trained / "model")])) == 2
    assert capfd.readouterr().err == "error: input: standard input is closed; give --input FILE\n"


def test_a_closed_pipe_is_not_an_error(place, capfd, monkeypatch):
    reading, writing = os.pipe()
    os.close(reading)
    monkeypatch.setattr(sys, "stdout", os.fdopen(writing, "w"))
    assert main.exit_code(lambda: main._dispatch(["--help"])) == 141
    assert capfd.readouterr().err == ""


def test_names_of_runs_and_scores_are_not_markup(place, trained, capfd):
    metrics = json.loads((trained / "metrics.json").read_text())
    metrics["test"]["[/red]"] = 1.0
    write("[bold]run/metrics.json", json.dumps(metrics))
    code, out, err = finetune(capfd, "compare", "[bold]run")
    assert (code, err) == (0, "")
    assert "[bold]run" in out


def test_a_recipe_that_runs_while_it_is_loaded_is_refused(place, capfd):
    write("eager.py", Path("tiny.py").read_text() + "from pipeline import main\nmain(recipe)\n")
    refused(capfd, "run", "eager.py", says="main(recipe) runs while eager.py is loaded; put it under: if __name__")


def test_warnings_of_python_in_a_recipe_are_not_printed_with_a_refusal(place, capfd):
    write("warned.py", "path = '\\d'\nraise ValueError('x')\n")
    refused(capfd, "run", "warned.py", says="warned.py:2: x")


@pytest.mark.parametrize("text", [VECTORS, VECTORS.replace("\n", "\n\n", 1), VECTORS + "\n"], ids=["", "in it", "last"])
def test_blank_lines_among_word_vectors_are_skipped(place, capfd, text):
    write("v.txt", text)
    code, _, err = finetune(capfd, "run", "bare.py", "--model.vectors", "v.txt")
    assert (code, err) == (0, "")


def test_a_folder_that_is_not_a_checkpoint_is_not_resumed_from(tmp_path):
    for name in ("step-abc", "step-00000003", "step-00000012", ".writing-step-00000099"):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
    assert checkpoint.newest(tmp_path).name == "step-00000012"
