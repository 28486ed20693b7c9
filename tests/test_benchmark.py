"""The benchmark script starts, and its docstring names everything that it measures."""

from __future__ import annotations

import json
import math
import re
import runpy
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from conftest import ROOT


@pytest.fixture
def benchmarks(monkeypatch):
    """The modules of scripts/benchmarks can be imported."""
    monkeypatch.setattr(sys, "path", [str(ROOT / "scripts"), *sys.path])


def test_the_script_names_everything_that_it_measures(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(ROOT / "scripts"), *sys.path])
    script = runpy.run_path(str(ROOT / "scripts/benchmark.py"))
    named = re.findall(r"^    python scripts/benchmark\.py (\w+)  +# ", script["__doc__"], re.M)
    assert named == list(script["MEASURES"])
    described = (ROOT / "docs/speed.md").read_text().split("All figures")[0]
    assert re.findall(r"`(\w+)`", described) == named


def test_scaling_prints_what_was_measured_and_what_follows_for_many_gpus(benchmarks, monkeypatch, capsys, tmp_path):
    script = runpy.run_path(str(ROOT / "scripts/benchmark.py"))
    monkeypatch.setitem(script["MEASURES"], "scaling", lambda pairs: [{"model": "one", "ratio": 1.25}])
    script["main"](scaling=True, json_file=tmp_path / "results.json")
    printed = capsys.readouterr().out
    assert printed.index("1.25") < printed.index("cluster") < printed.index("Assumed, not measured: ")
    results = json.loads((tmp_path / "results.json").read_text())
    assert [table["benchmark"] for table in results] == ["scaling", "cluster"]
    assert {row["GPUs"] for row in results[1]["rows"]} >= {1, 8, 1024}
    with pytest.raises(SystemExit, match="--scaling: runs scaling and cluster; leave out memory"):
        script["main"]("memory", scaling=True)


def test_asking_for_a_gpu_without_one_is_refused():
    call = [sys.executable, str(ROOT / "scripts/benchmark.py"), "--device", "cuda"]
    done = subprocess.run(call, capture_output=True, text=True, check=False, env={"CUDA_VISIBLE_DEVICES": ""})
    assert (done.returncode, done.stderr) == (1, "--device cuda: there is no GPU here\n")


def test_both_sides_of_each_choice_of_kernels_run_and_the_sides_agree(benchmarks, monkeypatch):
    from benchmarks import kernels

    monkeypatch.setitem(kernels.SIZES, "cpu", {"hidden_size": 64, "layers": 1, "units": 8})
    monkeypatch.setattr(kernels, "_compiled", lambda device: kernels._precision(device))  # half a minute of compiling
    monkeypatch.setattr(kernels, "STEPS", 1)
    rows = kernels.kernels(1)
    assert len(rows) == 5
    assert all(row["steps/s"] > 0 and row["other steps/s"] > 0 for row in rows)
    batch = kernels._batch("cpu")
    losses = [kernels._bert("cpu", attention).eval()(**batch).loss.item() for attention in ("sdpa", "eager")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.parametrize(("world", "per_node"), [(1, 8), (2, 8), (8, 8), (32, 8), (6, 2)])
def test_a_ring_takes_as_long_as_its_steps_one_after_the_other(benchmarks, world, per_node):
    from benchmarks.cluster import Cluster, ring_seconds

    machines = replace(Cluster(), per_node=per_node)
    local, seconds, size = min(world, per_node), 0.0, 1e9
    for _ in range(local - 1):  # each GPU hands on one of as many pieces as there are GPUs in the node
        seconds += size / local / machines.inside
    part, nodes = size / local, world // local
    for _ in range(nodes - 1):  # then its own piece's pieces, to the same place in the next node
        seconds += part / nodes / machines.outside + machines.hop
    assert ring_seconds(size, world, machines) == pytest.approx(seconds)


def test_the_memory_of_a_gpu_is_that_of_adamw_in_float32_sharded_or_not(benchmarks):
    from benchmarks.cluster import Cluster, Job, breaks_first, gpu_bytes, update_seconds

    job = Job("one", parameters=1e9, units=10, tokens=1000, activations=5)
    assert gpu_bytes(job, 64, "ddp") == 16e9 + 2e9 + 5000
    assert {gpu_bytes(job, 1, kind) for kind in ("ddp", "zero2", "fsdp")} == {gpu_bytes(job, 64, "ddp")}
    assert gpu_bytes(job, 64, "zero2") == pytest.approx(8e9 + 16e9 / 64 + 2e9 + 5000)
    assert gpu_bytes(job, 64, "fsdp") == pytest.approx(16e9 / 64 + 3 * 4e8 + 2e9 + 5000)
    machines = Cluster()
    assert update_seconds(job, 1, "ddp", machines) == pytest.approx(6e12 / machines.flops)
    assert breaks_first(replace(job, activations=80e6), 64, machines).startswith("memory")
    assert breaks_first(job, 64, machines).startswith("the link")
    assert breaks_first(replace(job, tokens=10**6), 64, machines) == "nothing"


def test_autocast_keeps_a_copy_of_the_weights_in_bf16_for_the_backward_pass(benchmarks):
    from benchmarks.cluster import COPIES

    layers = [torch.nn.Linear(32, 32) for _ in range(3)]
    kept = {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), torch.autocast("cpu", torch.bfloat16):
        torch.nn.Sequential(*layers)(torch.ones(1, 32, requires_grad=True))
    copies = [tensor for tensor in kept.values() if tensor.dtype == torch.bfloat16 and tensor.shape == (32, 32)]
    assert sum(copy.nbytes for copy in copies) == COPIES * sum(layer.weight.numel() for layer in layers)


@pytest.mark.slow  # three processes, and the sample's encoding
def test_two_processes_send_what_a_ring_of_two_does(benchmarks, monkeypatch):
    from benchmarks import scaling

    results = scaling._measured("BiLSTM 128", 1, 2)
    model = scaling.a_run(scaling.Recipe("s", "sentiment", scaling.ROTTEN_TOMATOES, scaling.TAGGER)).model
    assert results["bytes"] == 4 * sum(p.numel() for p in model.parameters())
    assert results["tokens/s"] > 0
    assert 0 <= results["share"] < 1


@pytest.mark.slow
def test_startup_measures_both_commands_against_another_checkout(benchmarks, monkeypatch):
    from benchmarks import startup

    monkeypatch.setattr(startup, "MODELS", dict([next(iter(startup.MODELS.items()))]))
    rows = startup.startup(1, ROOT)
    assert [row["command"] for row in rows] == ["predict", "evaluate"]
    assert all(0.2 < row["ratio"] < 5 for row in rows)


@pytest.mark.parametrize(
    "arguments", [{"which": "startup"}, {"which": "updates"}, {"which": "memory", "against": ROOT}]
)
def test_another_checkout_is_named_where_one_is_compared_and_nowhere_else(benchmarks, arguments):
    script = runpy.run_path(str(ROOT / "scripts/benchmark.py"))
    expected = r"--against: (startup|updates) needs the folder of another|only startup, .* and cells take another"
    with pytest.raises(SystemExit, match=expected):
        script["main"](**arguments)


@pytest.mark.parametrize("arguments", [{"which": "serve"}, {"which": "memory", "models": (ROOT,)}])
def test_models_are_named_for_serve_and_for_nothing_else(benchmarks, arguments):
    script = runpy.run_path(str(ROOT / "scripts/benchmark.py"))
    with pytest.raises(SystemExit, match="--models: serve needs the folders of its models, and nothing else takes any"):
        script["main"](**arguments)


@pytest.mark.slow  # two servers, one of which 200 clients ask until it has stopped
def test_serve_measures_each_load_and_a_sigterm_loses_no_request(benchmarks, monkeypatch, tmp_path, reviews):
    from benchmarks import serve

    from pipeline import Data, Recipe, Recurrent, Train, train

    folder = tmp_path / "small"
    train(Recipe("x", "sentiment", Data(str(reviews)), Recurrent(), train=Train(output_dir=str(folder), max_steps=2)))
    monkeypatch.setattr(serve, "SECONDS", 0.7)
    monkeypatch.setattr(serve, "_texts", lambda: [f"a warm film {number}" for number in range(400)])
    *measured, stopped = serve.serve(1, [folder])
    assert [(row["clients"], row["texts"]) for row in measured] == [*serve.LOADS]
    assert min(row[name] for row in measured for name in ("texts/s", "p50 ms", "p95 ms")) > 0
    assert stopped["answered"] > 0
    assert stopped["503"] + stopped["no server"] > 0
    assert stopped["lost"] == 0


@pytest.mark.slow  # sixteen processes
def test_prepare_measures_each_tokenizer_and_format_in_turn(benchmarks, monkeypatch):
    from benchmarks import prepare as measure

    monkeypatch.setattr(measure, "ROWS", 400)
    monkeypatch.setattr(measure, "LINES", 3000)
    rows = measure.prepare(1, ROOT)
    sides = [(row["what"].split(",")[0], row["side"]) for row in rows]
    assert sides.count(("csv", "ours")) == 4
    assert [side for what, side in sides if what == "CoNLL"] == ["ours", "the other checkout"]
    assert all(row["rows/s"] > 0 and row["times as fast"] > 0 and row["peak MiB"] > 0 for row in rows)


@pytest.mark.slow
@pytest.mark.parametrize(("case", "trained"), [("ner, 235 rows", 1), ("sentiment, 853 rows", 0)])
def test_rows_of_an_evaluation_are_written_and_a_tagger_has_learned_before(benchmarks, monkeypatch, case, trained):
    from benchmarks import rows

    from pipeline.training import trainer

    runs, fit = [], trainer.fit
    monkeypatch.setattr(trainer, "fit", lambda run, stop: runs.append(run) or fit(run, stop))
    recipe = rows.CASES[case]
    small = replace(recipe.model, hidden_size=8, embedding_size=8)
    few = replace(recipe.data, limit=80), replace(recipe.train, epochs=1)
    found = rows.costs(replace(recipe, model=small, data=few[0], train=few[1]), 1)
    assert len(runs) == trained
    assert found["rows"] == 8
    assert min(found[name] for name in ("evaluating ms", "writing ms", "share %", "KiB")) > 0


@pytest.mark.slow  # two processes that import everything
def test_updates_of_a_process_of_each_side_run(benchmarks, monkeypatch):
    from benchmarks import updates

    model = "Recurrent(cell='lstm', hidden_size=8, embedding_size=8)"
    recipe = updates.LSTM.format("sample:rotten_tomatoes", 16, model)
    monkeypatch.setattr(updates, "MODELS", {"small": (recipe, 2)})
    (row,) = updates.updates(1, ROOT)
    assert row["ours tokens/s"] > 0
    assert 0.02 < row["ratio"] < 50


@pytest.mark.slow  # two processes that import torch
@pytest.mark.parametrize(("against", "side"), [(None, "LSTM, tokens/s"), (ROOT, "other, tokens/s")])
def test_layers_of_a_cell_run_beside_the_lstm_or_another_checkout(benchmarks, monkeypatch, against, side):
    from benchmarks import models

    monkeypatch.setattr(models, "LAYERS", models.LAYERS[:1])
    monkeypatch.setattr(models, "CELLS", ("rnn",))
    (row,) = models.cells(1, against)
    assert row["layers"].startswith("rnn 2x64, both ways, 22 words")
    assert row["tokens/s"] > 0
    assert row[side] > 0
    assert 0.05 < row["ratio"] < 20


def test_a_folder_that_is_no_checkout_is_refused(benchmarks, tmp_path):
    script = runpy.run_path(str(ROOT / "scripts/benchmark.py"))
    with pytest.raises(SystemExit, match="is not a checkout of this project"):
        script["main"]("cells", against=tmp_path)


@pytest.mark.parametrize("arguments", [{"which": "memory", "only": ("keras",)}, {"scaling": True, "only": ("keras",)}])
def test_only_is_refused_where_nothing_can_be_chosen(benchmarks, arguments):
    script = runpy.run_path(str(ROOT / "scripts/benchmark.py"))
    with pytest.raises(SystemExit, match="--only: works with loop, updates and peers only"):
        script["main"](**arguments)


def test_a_text_that_is_in_no_name_is_refused_before_anything_is_measured(benchmarks):
    script = runpy.run_path(str(ROOT / "scripts/benchmark.py"))
    for arguments in ({"which": "loop"}, {"which": "updates", "against": ROOT}, {"which": "peers"}):
        with pytest.raises(SystemExit, match="--only: no name contains 'Chainer'; there are "):
            script["main"](**arguments, only=("bilstm", "Chainer")[arguments["which"] == "peers" :])


def test_only_chooses_the_rows_that_are_measured_and_their_order_stays(benchmarks, monkeypatch):
    from benchmarks import loops

    monkeypatch.setattr(loops, "_updates", lambda recipe, count: ((lambda: 1.0, lambda: 2.0), 30))
    monkeypatch.setattr(loops, "_epochs", lambda recipe: ((lambda: 3.0, lambda: 2.0), 60))
    rows = loops.loop(1, ("an EPOCH", "characters", "crf"))
    found = [(row["model"], row["ours tokens/s"], row["bare tokens/s"]) for row in rows]
    assert found == [
        ("BiLSTM-CRF 128 with characters, batch 32", 30, 15),
        ("BiLSTM 2x64, batch 32, an epoch with scores and a checkpoint", 20, 30),
    ]
    assert [row["ratio"] for row in rows] == [2, pytest.approx(2 / 3)]
    assert [row["model"] for row in loops.loop(1)] == [*loops.LOOPS, loops.EPOCH_TITLE]


@pytest.mark.parametrize("arguments", [("memory", (0, 1)), ("peers", (3,)), ("peers", (3, 3)), ("peers", (0, 0, 1))])
def test_two_seeds_are_named_for_peers_and_for_nothing_else(benchmarks, arguments):
    script = runpy.run_path(str(ROOT / "scripts/benchmark.py"))
    with pytest.raises(SystemExit, match="--seeds: needs two or more different seeds for peers, and nothing else"):
        script["main"](arguments[0], seeds=arguments[1])


def test_all_rows_are_asked_for_with_peers_and_nothing_else(benchmarks):
    script = runpy.run_path(str(ROOT / "scripts/benchmark.py"))
    with pytest.raises(SystemExit, match="--all-rows: only peers trains on a part of the rows"):
        script["main"]("memory", all_rows=True)


@pytest.mark.parametrize(("is_fast", "precision"), [(True, "bf16"), (False, "fp32")])
def test_the_precision_of_a_pretrained_pair_is_that_of_the_processor_and_named(
    benchmarks, monkeypatch, is_fast, precision
):
    from benchmarks.peers import pairs

    monkeypatch.setattr("pipeline.training.hardware.has_fast_bf16", lambda device: is_fast)
    assert pairs._title(pairs.PAIRS[0]) == f"MiniLM in {precision}"
    assert pairs.PAIRS[0].recipe.train.precision == "auto"
    assert pairs._title(pairs.PAIRS[1]) == "our BiLSTM, maximum"


def test_the_difference_over_seeds_is_that_of_students_t_with_pooled_variance(benchmarks):
    from benchmarks.peers.pairs import _difference

    ours, theirs = [0.80, 0.83, 0.82], [0.79, 0.80, 0.84, 0.81]
    squares = sum((x - sum(side) / len(side)) ** 2 for side in (ours, theirs) for x in side)
    error = math.sqrt(squares / 5 * (1 / 3 + 1 / 4))
    difference, quantile = 2.45 / 3 - 3.24 / 4, 2.570582  # of t with 5 degrees of freedom at 0.975
    low, high = difference - quantile * error, difference + quantile * error
    found = _difference(ours, theirs)
    assert found["difference"] == f"{difference:+.4f} ({low:+.4f} to {high:+.4f})"
    angle = math.atan(difference / error / math.sqrt(5))
    inside = 2 / math.pi * (angle + math.sin(angle) * (math.cos(angle) + 2 / 3 * math.cos(angle) ** 3))
    assert found["p"] == f"{1 - inside:.2f}"


@pytest.mark.parametrize("all_rows", [False, True])
def test_scores_over_seeds_come_from_the_same_rows_and_another_training_with_each_seed(
    benchmarks, monkeypatch, all_rows
):
    from benchmarks.peers import pairs

    trained, scores = [], {0: (0.80, 0.81), 4: (0.84, 0.79)}

    def train(pair, passes):
        trained.append((pair.recipe.train.seed, pair.rows, passes))
        return pairs._Trained("keras 3", (1.0, 1.0, 1.0), *scores[pair.recipe.train.seed])

    monkeypatch.setattr(pairs, "_train", train)
    monkeypatch.setattr(pairs, "PAIRS", (pairs.Pair("keras", "small", pairs.MINILM, rows=50),))
    (row,) = pairs.peers(2, seeds=(0, 4), all_rows=all_rows)
    rows = None if all_rows else 50
    assert trained == [(0, rows, 2), (4, rows, 2)]
    assert (row["our score"], row["their score"]) == ("0.8200 (spread 0.0283)", "0.8000 (spread 0.0141)")
    assert row["difference"].startswith("+0.0200 (")
    assert "ratio" not in row


def side(tmp_path, code):
    """A process that takes the part of a library in a pair."""
    from benchmarks.peers.pairs import _Side

    program = tmp_path / "side.py"
    program.write_text(f"from benchmarks.peers.side import Passes, read_recipe, read_rows\n{code}")
    return _Side.of([sys.executable, str(program)], tmp_path / "recipe.json", {})


def test_a_side_waits_for_its_turn_and_its_prints_are_no_reports(benchmarks, tmp_path):
    code = """
import time
print("loading")
passes = Passes()
passes.ready("pytest")
for _ in range(2):
    passes.begin()
    print("training")
    started = time.process_time()
    while time.process_time() < started + 0.02:
        pass
    passes.end()
passes.score(0.75)
"""
    with side(tmp_path, code) as process:
        assert process.report() == f"pytest {pytest.__version__}"
        assert all(0.02 <= process.next_pass() < 5 for _ in range(2))
        assert process.report() == 0.75
    assert (tmp_path / "side.py.log").read_text() == "loading\ntraining\ntraining\n"


def test_a_side_that_fails_says_why(benchmarks, tmp_path):
    with side(tmp_path, "Passes().begin()\nraise ValueError('no such layer')") as process:  # noqa: SIM117
        with pytest.raises(SystemExit, match=r"(?s)side.py has ended:.*ValueError: no such layer"):
            process.next_pass()


@pytest.mark.parametrize("most", [None, 50])
def test_all_sides_read_the_rows_and_splits_of_ours(benchmarks, tmp_path, most, reviews):
    from benchmarks.peers.pairs import Pair, _prepare
    from benchmarks.peers.side import known_words, read_rows

    from pipeline import Data, Recipe, Recurrent
    from pipeline.config.loading import load_recipe

    data = Data(str(reviews), tokenizer="whitespace", min_frequency=2)
    recipe, whole = Recipe("x", "sentiment", data, Recurrent()), tmp_path / "whole"
    whole.mkdir()
    file, count = _prepare(Pair("keras", "small", recipe, rows=most), 3, whole)
    settings = json.loads(file.read_text())
    rows = {split: read_rows(settings, split) for split in ("train", "validation", "test")}
    assert count == len(rows["train"])
    assert most in (None, count)
    from benchmarks.common import a_run

    ours = a_run(load_recipe(str(file)))
    assert {split: len(found) for split, found in rows.items()} == {name: len(own) for name, own in ours.splits.items()}
    assert settings["train"]["epochs"] == 3
    assert {*known_words(settings, rows["train"])} == {*ours.tokenizer.get_vocab()} - {
        *ours.tokenizer.all_special_tokens
    }


def test_the_entities_of_tags_are_their_spans(benchmarks):
    from benchmarks.peers.side import spans

    assert spans(["O", "B-PER", "I-PER", "B-PER", "O", "B-LOC"]) == [(1, 3, "PER"), (3, 4, "PER"), (5, 6, "LOC")]


def test_a_library_is_installed_once_for_the_same_pins(benchmarks, monkeypatch, tmp_path):
    from benchmarks.peers import environments

    installed = []
    monkeypatch.setattr(environments, "FOLDER", tmp_path)
    monkeypatch.setattr(environments, "find_python", lambda version: sys.executable)

    def run(command, **options):
        installed.append(command[1:])
        (tmp_path / "flair").mkdir(exist_ok=True)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(environments.subprocess, "run", run)
    python = environments.python_of("flair")
    assert [command[:2] for command in installed] == [["-m", "venv"], ["-m", "pip"], ["-m", "pip"]]
    assert environments.python_of("flair") == python == str(tmp_path / "flair/bin/python")
    assert len(installed) == 3
    (tmp_path / "flair/installed.txt").write_text("flair==0.1\n")
    environments.python_of("flair")
    assert len(installed) == 6
    assert environments.python_of("trainer") == sys.executable


def test_a_library_whose_python_is_missing_names_it(benchmarks, monkeypatch, tmp_path):
    from benchmarks.peers import environments

    monkeypatch.setattr(environments, "FOLDER", tmp_path)
    monkeypatch.setattr(environments, "find_python", lambda version: None)
    with pytest.raises(SystemExit, match=r"ludwig: needs Python 3\.12, which is not here; name the others with --only"):
        environments.python_of("ludwig")


@pytest.mark.slow  # two processes that train
def test_peers_measures_a_model_of_ours_under_the_trainer_in_turn(benchmarks, monkeypatch, reviews):
    from benchmarks.peers import pairs

    from pipeline import Data, Recurrent

    data = Data(str(reviews), tokenizer="whitespace", min_frequency=2)
    small = pairs._recipe(Recurrent(hidden_size=8, embedding_size=8), data)
    monkeypatch.setattr(pairs, "PAIRS", (pairs.Pair("trainer", "small", small), pairs.Pair("flair", "small", small)))
    (row,) = pairs.peers(1, ("trainer",))
    assert row["peer"].startswith("transformers 5")
    assert row["ratio"] == pytest.approx(row["ours rows/s"] / row["theirs rows/s"])
    assert all(0 <= float(row[name]) <= 1 for name in ("our score", "their score"))
