"""Bad input through the whole command, in this process: one line, exit code 2, nothing left behind; odd input is taken.

A case is what lies in the folder, the arguments, and what the line must say. `finetune run tiny.py` trains for two
updates on ok.csv.
"""

from __future__ import annotations

import gzip
import io
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
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertModel

from pipeline import cli

TINY = """from pipeline import Data, Recipe, Recurrent, Scratch, Train
recipe = Recipe(name="tiny", task="sentiment", data=Data(source="ok.csv"), model={model},
                train=Train(max_steps=2, batch_size=8, output_dir="out"))
"""
PAIRS = [(f"good film {n}", "pos") if n % 2 else (f"bad mess {n}", "neg") for n in range(40)]
ROWS = [{"text": text, "label": label} for text, label in PAIRS]


def table(pairs=PAIRS, head="text,label", separator=",", end="\n") -> str:
    return end.join([head, *(f"{text}{separator}{label}" for text, label in pairs)]) + end


def jsonl(*more: str) -> str:
    return "".join(f"{line}\n" for line in [*(json.dumps(row) for row in ROWS), *more])


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """An empty working folder with the recipes, good data and a cache of its own."""
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
    capfd.readouterr()
    sys.stdin = io.TextIOWrapper(io.BytesIO(stdin))
    try:
        code = cli._guarded(lambda: cli._dispatch(list(arguments)))
    except SystemExit as stop:  # the parser has shown its box
        code = stop.code
    finally:
        sys.stdin = sys.__stdin__
    return (code, *capfd.readouterr())


def refused(capfd, *arguments: str, says: str, stdin: bytes = b"") -> None:
    """Hold a refusal to the bar: code 2, one line or the parser's box, no library's voice, nothing half-written."""
    code, out, err = finetune(capfd, *arguments, stdin=stdin)
    assert (code, out) == (2, ""), err
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
    "latin-1": ("a.csv", table().encode() + b"caf\xe9,pos\n", "a.csv: not UTF-8 at byte 664 (0xe9)"),
    "utf-16": ("a.csv", table().encode("utf-16"), "UTF-16 text, at byte 0"),
    "utf-32": ("a.csv", table().encode("utf-32"), "UTF-32 text, at byte 0"),
    "a NUL": ("a.csv", table().replace("good", "go\0od", 1), "a.csv: a NUL at byte 28"),
    "gzip": ("a.csv", gzip.compress(table().encode()), "compressed with gzip"),
    "zip": ("a.csv", b"PK\x03\x04...", "a zip archive (or an Office document)"),
    "png": ("a.csv", b"\x89PNG\r\n\x1a\n", "not UTF-8 at byte 0"),
    "ragged": ("a.csv", table() + "a,b,c\n", "a.csv:42: 3 fields, but the header has 2"),
    "too short": ("a.csv", table() + "only\n", "a.csv:42: 1 fields, but the header has 2"),
    "unclosed quote": ("a.csv", table() + '"abc,pos\nx,neg\n', "a.csv:42: unexpected end of data; check the quotes"),
    "semicolons": ("a.csv", table(head="text;label", separator=";"), "separated by semicolons, not by commas"),
    "tabs in csv": ("a.csv", table(head="text\tlabel", separator="\t"), "rename it to .tsv"),
    "commas in tsv": ("a.tsv", table(), "rename it to .csv"),
    "doubled column": ("a.csv", table(head="text,text"), "two columns are called 'text'"),
    "nameless column": ("a.csv", "text,label,\na,b,\n", "column 3 has no name"),
    "no header": ("a.csv", table()[11:], "no column looks like the text"),
    "two texts": ("a.csv", "text,review,label\na,b,c\n", "which column holds the text, text or review?"),
    "texts only": ("a.csv", "text\na\nb\n", "it has texts only, no labels"),
    "plain text": ("a.txt", "a\nb\n", "it has texts only, no labels"),
    "Word": ("a.docx", "a", "a.docx: .docx cannot be read; there are: .bmes, .conll, .csv"),
    "no suffix": ("a", "a", "a file without extension cannot be read"),
    "one label": ("a.csv", table([(text, 1) for text, _ in PAIRS]), "two classes are needed"),
    "ids as labels": ("a.csv", table([(text, text) for text, _ in PAIRS]), "that is no set of classes"),
    "no label in a row": ("a.csv", table() + "abc,\n", "a.csv:42: the label is missing"),
    "three rows": ("a.csv", table(PAIRS[:3]), "3 rows are too few to carve validation and test from"),
    "no text": ("a.csv", table([(" ", label) for _, label in PAIRS]), "it has no rows with a text"),
    "broken line": ("a.jsonl", jsonl("{broken"), "a.jsonl:41: not JSON at column 2"),
    "cut line": ("a.jsonl", jsonl()[:-5], "a.jsonl:40: not JSON"),
    "scalar line": ("a.jsonl", jsonl("3"), "a.jsonl:41: expected an object with named fields, found 3"),
    "list as text": ("a.jsonl", jsonl('{"text": ["a"], "label": "pos"}'), "a.jsonl:41: the text is a list"),
    "object as label": ("a.jsonl", jsonl('{"text": "a", "label": {}}'), "a.jsonl:41: the label is an object"),
    "NaN as label": ("a.jsonl", jsonl('{"text": "a", "label": NaN}'), "a.jsonl:41: the label is missing"),
    "missing field": ("a.jsonl", jsonl('{"text": "a"}'), "a.jsonl:41: the row has no field 'label'"),
    "half a surrogate": ("a.jsonl", jsonl('{"text": "\\ud800", "label": "pos"}'), "mend the \\u escape"),
    "nested deeply": ("a.jsonl", jsonl("[" * 100_000), "a.jsonl:41: JSON nested too deeply"),
    "no list": ("a.json", '{"a": 1}', "expected a list of objects"),
    "lines in json": ("a.json", jsonl(), "rename the file to .jsonl"),
    "endless number": ("a.json", f"[{'9' * 5000}]", "a.json:1: not JSON"),
    "csv as parquet": ("a.parquet", table(), "not a readable parquet file"),
    "only a test split": ("f/test.csv", table(), "it has no training split, only test"),
    "no split at all": ("f/data.csv", table(), "no train.*, validation.* or test.* in it"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_data_is_refused_with_its_place(place, capfd, case):
    name, content, says = MALFORMED[case]
    refused(capfd, "run", "tiny.py", "--data.source", write(name, content).partition("/")[0], says=says)


def test_data_that_is_not_a_file_is_refused_and_not_waited_for(place, capfd):
    os.mkfifo("pipe.csv")
    os.symlink("gone", "link.csv")
    for source, says in (("pipe.csv", "a pipe or a device"), ("link.csv", "a link to a file that is not there")):
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
def test_unusual_data_is_taken(place, capfd, case):
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
    ("--data.source org/name", "data.revision: offline, org/name needs the commit"),
    ("--data.source nothing.csv", "data.source: there is no file or folder nothing.csv"),
    ("--data.revision main", "ok.csv is a local file or folder, which has none"),
    ("--data.text-column txt", "ok.csv has no column 'txt'; did you mean text?"),
    ("--data.text-column label", "'label' is taken for text and for label"),
    ("--model.hidden-size 1000000000", "no memory holds a model of these sizes"),
    ("--model.embedding-size 2000000000", "and this machine has"),
    ("--model.layers 1000000", "model.layers: 1000000 is out of range"),
    ("--model.heads 3", "--model.heads"),
    ("--name a/b", "'a/b' cannot name a folder"),
    ("--task json:loads", "cannot load 'json:loads'"),
    ("--train.output-dir ok.csv", "ok.csv is a file; name a folder"),
    ("--train.output-dir ok.csv/run", "ok.csv is a file; name a folder"),
    ("--train.output-dir " + "a" * 300, "cannot be a path"),
]


@pytest.mark.parametrize(("flags", "says"), SETTINGS, ids=[flags[:40] for flags, _ in SETTINGS])
def test_a_setting_that_cannot_be_is_refused(place, capfd, flags, says):
    refused(capfd, "run", "tiny.py", *(flag.strip("'") for flag in flags.split(" ")), says=says)


def test_a_model_of_attention_is_held_to_its_own_settings(place, capfd):
    refused(capfd, "run", "bert.py", "--model.heads", "3", says="3 heads cannot share model.hidden_size 8 evenly")
    refused(capfd, "run", "bert.py", "--model.cell", "lstm", says="--model.cell")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("good 1 2 3\nbad 4 5\n", "v.txt:2: "),
        ("good a b c\n", "v.txt:1: a b c ... is not a vector of 3 numbers"),
        ("zzz 1 2 3\n", "has a vector for none of the"),
        ("", "has a vector for none of the"),
        ("good nan 2 3\n", "expected a word and 3 finite numbers"),
        ("5 300\ngood 1 2 3\n", "v.txt:2: good 1 2 ... is not a vector of 300 numbers"),
        (b"2 3\ngood \x00\xff\xfe\n", "give the text form"),
    ],
)
def test_malformed_vectors_are_refused(place, capfd, content, says):
    refused(capfd, "run", "bare.py", "--model.vectors", write("v.txt", content), says=says)


RECIPES = [
    ("{", "not JSON"),
    ("[]", "a recipe is a JSON object"),
    ({"foo": 1}, "foo: no such setting"),
    ({"train": {"epoch": 1}}, "train.epoch: no such setting; did you mean epochs?"),
    ({"train": {"epochs": "3"}}, "train.epochs: '3' is not a whole number"),
    ({"train": {"epochs": True}}, "train.epochs: True is not a whole number"),
    ({"model": {"kind": "recurent"}}, "did you mean recurrent?"),
    ({"model": {"kind": [1]}}, "no kind of model [1]"),
    ({"model": {"kind": "os:system"}}, "os:system is not a kind of model"),
    ({"data": []}, "data: [] is not an object of settings"),
    ("[" * 100_000, "nested too deeply"),
    (b'{"name": "\xe9"}', "not UTF-8 at byte 10"),
]


@pytest.mark.parametrize(("change", "says"), RECIPES, ids=[str(change)[:30] for change, _ in RECIPES])
def test_a_malformed_recipe_is_refused(place, capfd, change, says):
    content = change
    if isinstance(change, dict):
        values = json.loads(cli.load_recipe("tiny.py").to_json())
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
    recipe = cli.override(cli.load_recipe(str(folder / "tiny.py")), ["--train.save-every", "1"], "")
    settings = ["--data.source", str(folder / "ok.csv"), "--train.output-dir", str(folder / "run")]
    from pipeline.run import train

    train(cli.override(recipe, settings, ""))
    return folder / "run"


def change_config(folder: Path, **values) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | values))


def change_weights(folder: Path, **values) -> None:
    weights = load_file(folder / "model.safetensors") | {name.replace("__", "."): v for name, v in values.items()}
    kept = {name: value for name, value in weights.items() if value is not None}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})


# what is done to the folder of a good model, and what the refusal says
DAMAGES = {
    "no config": (lambda m: (m / "config.json").unlink(), "there is no config.json in it"),
    "no weights": (lambda m: (m / "model.safetensors").unlink(), "it has no *.safetensors file"),
    "no tokenizer": (lambda m: [file.unlink() for file in m.glob("*token*")], "there is no tokenizer in this folder"),
    "cut weights": (lambda m: os.truncate(m / "model.safetensors", 500), "damaged or not a safetensors file"),
    "a weight less": (lambda m: change_weights(m, classifier__weight=None), "lacks 1 weights"),
    "another shape": (lambda m: change_weights(m, classifier__weight=torch.zeros(2, 3)), "cannot be loaded"),
    "NaN": (lambda m: change_weights(m, classifier__weight=torch.full((2, 8), torch.nan)), "that are not numbers"),
    "another cell": (lambda m: change_config(m, cell_type="martian"), "cannot be loaded"),
    "size in words": (lambda m: change_config(m, hidden_size="eight"), "cannot be loaded"),
    "misspelt field": (lambda m: change_config(m, hiden_size=8), "did you mean `hidden_size`?"),
    "three labels": (lambda m: change_config(m, id2label={"0": "a", "1": "b", "2": "c"}), "cannot be loaded"),
    "unknown type": (lambda m: change_config(m, model_type="martian"), "cannot be loaded"),
    "tokenizer cut": (lambda m: write(str(m / "tokenizer.json"), "{"), "its tokenizer cannot be loaded"),
    "small embeddings": (
        lambda m: (change_config(m, vocab_size=5), change_weights(m, model__embed_tokens__weight=torch.zeros(5, 8))),
        "they do not belong together",
    ),
    "another head": (
        lambda m: BertModel(
            BertConfig(vocab_size=99, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
        ).save_pretrained(m),
        "lacks",
    ),
}


@pytest.mark.parametrize("case", DAMAGES)
def test_a_damaged_model_is_refused(place, trained, capfd, case):
    damage, says = DAMAGES[case]
    damage(Path(shutil.copytree(trained / "model", "m")))
    refused(capfd, "predict", "m", stdin=b"good film\n", says=says)


def test_code_that_lies_beside_a_model_is_not_run(place, trained, capfd):
    model = Path(shutil.copytree(trained / "model", "m"))
    change_config(model, auto_map={"AutoModelForSequenceClassification": "evil.Evil"})
    write("m/evil.py", "open('ran', 'w')")
    code, out, err = finetune(capfd, "predict", "m", stdin=b"good film\n")
    assert (code, err) == (0, "")
    assert json.loads(out)["label"] in ("pos", "neg")
    assert not Path("ran").exists()


class Evil:
    def __reduce__(self):
        return open, ("ran", "w")


# what is done to the newest checkpoint of an unfinished run
LOSSES = {
    "no state": lambda c: (c / "state.json").unlink(),
    "broken state": lambda c: write(str(c / "state.json"), "{"),
    "another state": lambda c: write(str(c / "state.json"), '{"steps": 1}'),
    "cut weights": lambda c: os.truncate(c / "model.safetensors", 500),
    "a pickle that runs code": lambda c: write(str(c / "optimizer.pt"), pickle.dumps(Evil())),
    "no random state": lambda c: (c / "random-0.pt").unlink(),
}


@pytest.mark.parametrize("case", LOSSES)
def test_a_damaged_checkpoint_is_refused_and_no_code_in_it_is_run(place, trained, capfd, case):
    run = Path(shutil.copytree(trained, "run"))
    (run / "metrics.json").unlink()
    newest = max((run / "checkpoints").iterdir())
    LOSSES[case](newest)
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


def test_a_cache_that_cannot_be_used_is_refused_and_a_damaged_one_is_made_again(place, capfd, monkeypatch):
    assert finetune(capfd, "run", "tiny.py")[0] == 0
    for file in Path("cache").rglob("*.*"):
        file.write_bytes(b"junk")
    code, _, err = finetune(capfd, "run", "tiny.py", "--train.overwrite")
    assert (code, err) == (0, "")
    shutil.rmtree("out")
    monkeypatch.setenv("FINETUNE_CACHE", "ok.csv")
    refused(capfd, "run", "tiny.py", says="FINETUNE_CACHE: ok.csv cannot be written to")
