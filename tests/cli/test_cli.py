"""The command: results on stdout, one line on stderr for a mistake, exit codes that a scheduler understands."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, finetune, finetune_here

RECIPE = """
from pipeline import Data, Optim, Recipe, Recurrent, Train, main
recipe = Recipe(name="tiny", task="sentiment", data=Data(source={source!r}),
                model=Recurrent(hidden_size=8, embedding_size=8, pooling="max"),
                optim=Optim(learning_rate=0.05), train=Train(epochs=2, batch_size=16))
if __name__ == "__main__":
    main(recipe)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a recipe and its data."""
    folder = tmp_path_factory.mktemp("work")
    rows = [f'"warm and funny {n}",good\n"dull and empty {n}",bad\n' for n in range(60)]
    (folder / "reviews.csv").write_text("text,label\n" + "".join(rows))
    (folder / "tiny.py").write_text(RECIPE.format(source="reviews.csv"))
    return folder


@pytest.fixture(scope="module")
def first_run(folder: Path) -> subprocess.CompletedProcess[str]:
    done = finetune("run", "tiny.py", cwd=folder)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def workplace(folder: Path, first_run: subprocess.CompletedProcess[str]) -> Path:
    """A folder with a recipe, its data and its finished run."""
    return folder


def refusal(done) -> str:
    """The one line on stderr of a refused command."""
    assert done.returncode == 2, done.stderr + done.stdout
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert "Error" not in line
    assert "Exception" not in line
    return line


def test_a_run_ends_with_a_table_and_where_the_model_is(first_run):
    assert first_run.stderr == ""
    assert "test accuracy" in first_run.stdout
    assert "model: runs/tiny/model" in first_run.stdout


def test_recipe_json_repeats_the_run(workplace, capfd):
    shutil.rmtree(workplace / "repeated", ignore_errors=True)
    done = finetune_here(capfd, "run", "runs/tiny/recipe.json", "--train.output-dir", "repeated", cwd=workplace)
    assert done.returncode == 0, done.stderr
    one, two = (json.loads((workplace / run / "metrics.json").read_text()) for run in ("runs/tiny", "repeated"))
    assert one["test"] == two["test"]


def test_a_recipe_is_a_script_of_its_own(workplace):
    done = subprocess.run(
        [sys.executable, "tiny.py", "--train.output-dir", "script", "--train.epochs", "1"],
        cwd=workplace,
        env={"PYTHONPATH": str(ROOT), **__import__("os").environ},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((workplace / "script/recipe.json").read_text())["train"]["epochs"] == 1


def test_evaluate_prints_the_metrics_of_the_run_and_nothing_else(workplace, capfd):
    folder = workplace / "parts"
    folder.mkdir(exist_ok=True)
    (folder / "test.csv").write_text("text,label\nwarm and funny,good\ndull and empty,bad\n")
    arguments = ("evaluate", "runs/tiny", "--data", "parts")
    for done in (
        finetune(*arguments, cwd=workplace),
        finetune_here(capfd, *arguments, "--batch-size", "1", cwd=workplace),
    ):
        assert done.returncode == 0, done.stderr
        scores = json.loads(done.stdout)
        assert scores["accuracy"] == 1.0
        assert scores["confusion"] == [[1, 0], [0, 1]]
        assert done.stderr == ""


def test_predict_answers_each_line_with_a_line(workplace, capfd):
    texts = "warm and funny\n\ndull and empty\r\nשלום 👍🏽\n"
    done = finetune("predict", "runs/tiny/model", cwd=workplace, stdin="\ufeff" + texts)
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [answer["text"] for answer in answers] == ["warm and funny", "", "dull and empty", "שלום 👍🏽"]
    assert [answers[0]["label"], answers[2]["label"]] == ["good", "bad"]
    for answer in answers:
        assert sum(answer["scores"].values()) == pytest.approx(1.0)
        assert answer["score"] == max(answer["scores"].values())
    (workplace / "texts.txt").write_text(texts, encoding="utf-8", newline="")
    again = finetune_here(capfd, "predict", "runs/tiny", "--input", "texts.txt", cwd=workplace)
    assert again.stdout == done.stdout


@pytest.fixture(scope="module")
def sweep(workplace) -> list[Path]:
    """Finished runs of two settings and two seeds: what a run has left, with other figures in it."""
    runs, losses = [], iter((0.5, 0.75, 1.25, 1.3))
    for rate in (0.05, 0.01):
        for seed in (0, 1):
            runs.append(workplace / f"sweep/{rate}-{seed}")
            shutil.copytree(workplace / "runs/tiny", runs[-1], ignore=shutil.ignore_patterns("predictions"))
            recipe, metrics = (json.loads((runs[-1] / name).read_text()) for name in ("recipe.json", "metrics.json"))
            recipe["optim"]["learning_rate"], recipe["train"]["seed"] = rate, seed
            metrics["test"]["loss"] = next(losses)
            (runs[-1] / "recipe.json").write_text(json.dumps(recipe))
            (runs[-1] / "metrics.json").write_text(json.dumps(metrics))
    return runs


@pytest.mark.parametrize("flags", [[], ["--over-seeds"]])
def test_compare_gives_each_setting_its_mean_and_spread_over_seeds(sweep, flags, capfd):
    done = finetune_here(capfd, "compare", *flags, *sweep)
    assert (done.returncode, done.stderr) == (0, "")
    losses = np.array([[0.5, 0.75], [1.25, 1.3]])
    rows = [line for line in done.stdout.splitlines() if "optim.learning_rate" in line and "│" in line]
    assert len(rows) == 2
    for row, rate, own in zip(rows, (0.05, 0.01), losses, strict=True):
        cells = [cell.strip() for cell in row.strip("│").split("│")]
        assert cells[:2] == [f"optim.learning_rate {rate}", "2"]
        assert f"{own.mean():.4f} ({own.std(ddof=1):.4f})" in cells


def test_compare_gives_each_run_a_row_without_over_seeds(sweep, capfd):
    done = finetune_here(capfd, "compare", "--no-over-seeds", *sweep)
    assert [line.split("│")[1].strip() for line in done.stdout.splitlines() if "│" in line] == [
        run.name for run in sweep
    ]


def test_compare_leaves_out_what_has_not_finished_and_counts_no_seed_twice(sweep, workplace, capfd):
    unfinished = workplace / "sweep/unfinished"
    shutil.copytree(sweep[0], unfinished, dirs_exist_ok=True)
    done = finetune_here(capfd, "compare", sweep[0], unfinished)
    assert [line.split("│")[1].strip() for line in done.stdout.splitlines() if "│" in line] == ["0.05-0", "unfinished"]
    (unfinished / "metrics.json").unlink()
    done = finetune_here(capfd, "compare", *sweep, unfinished)
    assert (done.returncode, done.stderr) == (0, f"{unfinished}: it has not finished, and is left out\n")
    done = finetune_here(capfd, "compare", unfinished)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith("error: finetune compare: none of these runs has finished\n")


def test_compare_puts_runs_side_by_side_and_says_what_tests_need(workplace, sweep):
    done = finetune("compare", "runs/tiny", sweep[0], cwd=workplace)
    assert (done.returncode, done.stderr) == (0, "")
    assert "parameters" in done.stdout
    assert "no predictions/test.parquet, and tests need the rows; if the data has a test split" in done.stdout


def test_doctor_reports_what_a_recipe_will_do(workplace, capfd):
    done = finetune("doctor", "tiny.py", cwd=workplace)
    assert done.returncode == 0, done.stderr
    printed = dict(line.strip().split(maxsplit=1) for line in done.stdout.splitlines() if line.startswith("  "))
    for name, fact in {
        "rows": "train 96, validation 12, test 12",
        "labels": "bad, good",
        "updates": "12, of 16 rows; 6 per epoch",
        "batches": "16 rows x 1 micro-batches x 1 processes",
        "processes": "1 on cpu; distributed: no",
        "memory": "for a batch of the 16 longest rows",
        "time": "seconds for training",
        "precision": "fp32",
    }.items():
        assert fact in printed[name]
    assert "a run of 12 updates is short" in done.stdout
    assert "torch" in finetune_here(capfd, "doctor", cwd=workplace).stdout


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["rum"], "error: finetune rum: no such command; did you mean run?"),
        (["run", "tinny.py"], "error: tinny.py: no such file; did you mean tiny.py?"),
        (["run", "reviews.csv"], "error: reviews.csv: not a recipe; it must be a .py or .json file"),
        (["run", "tiny.py"], "error: train.output_dir: runs/tiny holds a finished run; name another folder or add"),
        (["run", "tiny.py", "--data.source", "sample:x"], "error: data.source: no data sample sample:x; there are"),
        (
            ["run", "tiny.py", "--model.vectors", "v.txt", "--model.embedding-size", "None"],
            "error: model.vectors: there",
        ),
        (["compare", "runs/tinny"], "error: runs/tinny: there is no such folder; did you mean tiny?"),
        (["compare", "runs"], "error: runs: it is not the folder of a run; there is no metrics.json in it"),
        (["compare"], "error: finetune compare: name the folder of at least one run"),
        (["compare", "runs/tiny", "--common"], "error: --common: there is nothing to have in common with; name at"),
        (
            ["compare", "runs/tiny", "--json", "--markdown"],
            "error: --json and --markdown: both print to standard output",
        ),
        (
            ["compare", "runs/tiny", "--html", "pages/page.html"],
            "error: --html: there is no folder pages; name a file in",
        ),
        (
            ["compare", "runs/tiny", "--html", "runs"],
            "error: --html: runs is a folder; name a file in an existing folder",
        ),
        (["compare", "runs/tiny", "--html", "page"], "error: --html: page must end with .html or .htm"),
        (
            ["compare", "runs/tiny", "runs/../runs/tiny"],
            "error: finetune compare: runs/tiny is named twice; name each run",
        ),
        (["predict", "runs/tiny", "--input", "text.txt"], "error: input: there is no file text.txt"),
        (["predict", "runs/tiny", "--split", "test"], "error: split: standard input is read as one text per line"),
    ],
)
def test_a_mistake_is_one_line_with_the_remedy_before_torch_is_imported(workplace, arguments, line):
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", "from pipeline.cli.main import entry; entry()", *arguments],
        cwd=workplace,
        env={**__import__("os").environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    imported = {part.rsplit("|", 1)[-1].strip() for part in done.stderr.splitlines() if part.startswith("import time")}
    done.stderr = "".join(f"{part}\n" for part in done.stderr.splitlines() if not part.startswith("import time"))
    assert refusal(done).startswith(line)
    assert not {"torch", "transformers", "datasets"} & imported


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["--model.hiden-size", "3"], "--model.hidden-size"),
        (["--train.epochs", "0"], "train.epochs: 0 is out of range; it must be >= 1"),
        (["--train.epochs", "three"], "--train.epochs"),
        (["--model.cell", "lst"], "--model.cell"),
        (["--model.checkpoint", "x"], "--model.checkpoint"),
        (["--model.freeze-vectors"], "there are no vectors to freeze"),
    ],
)
def test_the_parser_refuses_a_wrong_flag(workplace, arguments, hint):
    done = finetune("run", "tiny.py", *arguments, cwd=workplace)
    assert done.returncode == 2
    assert done.stdout == ""
    assert hint in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("recipe = 3\n", "error: r.py: no recipe in it; assign recipe = Recipe(...)"),
        ("x = 1\nrecipe = Recipee()\n", "error: r.py:2: name 'Recipee' is not defined"),
        ("def f(:\n", "error: r.py:1: invalid syntax"),
        ("import nothing_of_that_name\n", "error: r.py:1: No module named 'nothing_of_that_name'"),
        ("from pipeline import Train\nTrain(sed=1)\n", "error: r.py: train.sed: no such setting; did you mean seed?"),
    ],
)
def test_a_mistake_in_a_recipe_file_is_one_line(tmp_path, content, line):
    (tmp_path / "r.py").write_text(content)
    assert refusal(finetune("run", "r.py", cwd=tmp_path)).startswith(line)


def test_a_recipe_that_is_run_as_a_script_refuses_its_mistakes_in_one_line(tmp_path):
    (tmp_path / "r.py").write_text("from pipeline import Train, main\nTrain(sed=1)\n")
    done = subprocess.run(
        [sys.executable, "r.py"],
        cwd=tmp_path,
        env={**__import__("os").environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert refusal(done) == "error: train.sed: no such setting; did you mean seed?"


@pytest.mark.parametrize(
    ("file", "content", "line"),
    [
        ("config.json", "{broken", "error: model: {folder}/config.json is not JSON"),
        ("config.json", '{"model_type": "martian"}', "error: model: {folder} cannot be loaded"),
        (
            "model.safetensors",
            "nothing",
            "error: model: {folder}/model.safetensors is damaged or not a safetensors file",
        ),
        ("tokenizer.json", "{broken", "error: {folder}: its tokenizer cannot be loaded"),
    ],
)
def test_a_damaged_model_is_one_line(workplace, tmp_path, file, content, line, capfd):
    shutil.copytree(workplace / "runs/tiny/model", tmp_path / "model")
    (tmp_path / "model" / file).write_text(content)
    done = finetune_here(capfd, "predict", tmp_path / "model", stdin=b"good\n")
    assert refusal(done).startswith(line.format(folder=tmp_path / "model"))


def test_data_with_labels_that_the_model_does_not_know_is_one_line(workplace, tmp_path, capfd):
    (tmp_path / "new.csv").write_text("text,label\nfine,superb\nbad,bad\n")
    done = finetune_here(capfd, "evaluate", workplace / "runs/tiny", "--data", tmp_path / "new.csv")
    assert refusal(done).endswith(
        "new.csv:2: the model does not know the label 'superb'; it has bad, good; if it is one of them, say which with"
        " data.label_names superb=NAME"
    )


def test_text_that_is_not_utf8_is_one_line(workplace, capfd):
    (workplace / "latin.txt").write_bytes(b"good\ncaf\xe9\n")
    done = finetune_here(capfd, "predict", "runs/tiny", "--input", "latin.txt", cwd=workplace)
    assert done.returncode == 2
    assert done.stderr.startswith("error: latin.txt:2: not UTF-8 at byte 8 (0xe9)")
    assert len(done.stderr.splitlines()) == 1
