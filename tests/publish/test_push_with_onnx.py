"""`finetune push --with-onnx`: the export is in onnx/, searched for secrets and run in a clean process first."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import exported_runs
import onnx
import pytest
from exports import answers, bare_environment
from hub_fixtures import Place, local_hub_only
from huggingface_hub import snapshot_download

from pipeline import inference
from pipeline.cli import push as command
from pipeline.config.hub import Hub
from pipeline.errors import UserError
from pipeline.export import latency
from pipeline.export import pushing as exporting
from pipeline.export.checks import Checked
from pipeline.export.pushing import exported
from pipeline.publish import push as pushing
from pipeline.publish.onnx_folder import OnnxExport

PROGRAMS = {"handler.py", "requirements.txt"}


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return exported_runs.train(tmp_path_factory.mktemp("tiny"), cell="gru")


@pytest.fixture(scope="module")
def export(run, tmp_path_factory) -> OnnxExport:
    sides = {side: {f"batch_{size}": {"p50": 1.0, "p95": 1.0} for size in (1, 32)} for side in ("before", "after")}
    with pytest.MonkeyPatch.context() as patch, exported(str(run), _quickly(patch, sides)) as made:
        folder = Path(shutil.copytree(made.folder, tmp_path_factory.mktemp("exports") / "onnx"))
        return OnnxExport(folder, made.texts, made.answers)


def _quickly(patch: pytest.MonkeyPatch, sides: dict) -> None:
    patch.setattr(latency, "measure", lambda *_: sides)


@pytest.fixture
def changed(export, tmp_path) -> OnnxExport:
    """A copy of the export, to be changed."""
    return OnnxExport(Path(shutil.copytree(export.folder, tmp_path / "onnx")), export.texts, export.answers)


def push(run: Path, name: str, export: OnnxExport | None = None, **settings) -> None:
    pushing.push(str(run), Hub(push=True, repo_id=name, **settings), onnx=export)


def refusal(run: Path, name: str, export: OnnxExport) -> str:
    with pytest.raises(UserError) as error:
        push(run, name, export)
    return str(error.value)


def test_the_export_is_in_onnx_and_the_programs_of_inference_endpoints_are_at_the_top(
    hub: Place, run, export, unchecked, tmp_path
):
    name = hub.name()
    push(run, name, export)
    folder = Path(snapshot_download(name))
    assert {file.name for file in folder.iterdir()} >= {"onnx", "model.safetensors", "recipe.json", *PROGRAMS}
    pushed = {file.name for file in (folder / "onnx").iterdir()}
    assert pushed == {file.name for file in export.folder.iterdir()} - PROGRAMS - {"recipe.json"}
    assert (folder / "onnx/model.onnx").read_bytes() == (export.folder / "model.onnx").read_bytes()
    assert "python onnx/runner.py < texts.txt" in (folder / "README.md").read_text()
    texts = ["a moving , funny film", ""]
    found = answers(bare_environment(tmp_path / "packages"), folder / "onnx", texts)
    assert [answer["label"] for answer in found] == [answer["label"] for answer in inference.predict(str(run), texts)]


@local_hub_only
def test_who_is_not_logged_in_hears_it_before_the_export_is_made(hub: Place, run, monkeypatch):
    made: list[str] = []
    monkeypatch.setattr(exporting, "export", lambda name, *_, **__: made.append(name))
    hub.log_in("")
    with pytest.raises(UserError, match="you are not logged in"):
        command.command([str(run), hub.name(), "--with-onnx"])
    assert made == []


@pytest.mark.parametrize(("quantization", "flag"), [(None, "--with-onnx"), ("int8", "--quantize")])
def test_an_export_that_is_refused_says_how_to_push_without_it(run, monkeypatch, quantization, flag):
    monkeypatch.setattr(Checked, "problem", lambda *_: "it is wrong")
    with pytest.raises(UserError) as error, exported(str(run), quantization):
        pass
    assert str(error.value).endswith(f"; push without {flag}")


def test_a_second_push_uploads_nothing_and_one_of_other_weights_deletes_the_export(
    hub: Place, run, export, unchecked, tmp_path, capsys
):
    name = hub.name()
    push(run, name, export)
    push(run, name, export)
    assert "nothing to push" in capsys.readouterr().out
    push(run, name)
    assert "onnx/model.onnx" in hub.api.list_repo_files(name)
    other = exported_runs.train(tmp_path, cell="gru", hidden_size=6)
    push(other, name)
    files = hub.api.list_repo_files(name)
    assert not [file for file in files if file.startswith("onnx/") or file == "handler.py"]


def test_an_export_that_answers_otherwise_in_a_clean_process_is_refused(hub: Place, run, changed, monkeypatch):
    monkeypatch.setattr(pushing, "verify_in_clean_process", lambda *_: None)  # of the model
    settings = json.loads((changed.folder / "export.json").read_text())
    settings["labels"] = settings["labels"][::-1]
    (changed.folder / "export.json").write_text(json.dumps(settings))
    message = refusal(run, hub.name(), changed)
    assert message == "model: in a clean process, runner.py of its export answers otherwise; export it again"


def test_an_export_and_its_handler_run_in_a_clean_process(hub: Place, run, export, monkeypatch):
    monkeypatch.setattr(pushing, "verify_in_clean_process", lambda *_: None)  # of the model
    name = hub.name()
    push(run, name, export)
    assert "onnx/model.onnx" in hub.api.list_repo_files(name)


@pytest.mark.usefixtures("unchecked")
def test_secrets_in_a_graph_are_found(hub: Place, run, changed):
    file = changed.folder / "model.onnx"
    graph = onnx.load(file)
    graph.graph.node[0].doc_string = "hf_" + "a" * 34
    onnx.save(graph, file)
    assert refusal(run, hub.name(), changed).startswith("model.onnx:1: it contains a Hub token")
