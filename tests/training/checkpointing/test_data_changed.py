"""A run goes on only with the data that it was trained on; the refusal says what has changed."""

from __future__ import annotations

import shutil

import pytest
from test_trainer import a_recipe, assert_same_weights

from pipeline.errors import UserError
from pipeline.run import train
from pipeline.training.checkpointing import checkpoint


@pytest.fixture
def unfinished(reviews, tmp_path):
    """A recipe whose run has checkpoints at 3 to 15 of 16 updates and no metrics yet, and the complete run."""
    recipe = a_recipe(reviews, tmp_path, save_every=3, keep_checkpoints=9, eval_every=100)
    train(recipe)
    shutil.copytree(tmp_path / "run", tmp_path / "undisturbed")
    (tmp_path / "run/metrics.json").unlink()
    shutil.rmtree(tmp_path / "run/checkpoints/step-00000016")
    return recipe


def refusal(recipe) -> str:
    with pytest.raises(UserError) as found:
        train(recipe)
    return str(found.value)


def test_one_more_row_is_refused_and_nothing_is_removed(unfinished, reviews, tmp_path):
    with reviews.open("a") as file:
        file.write("one more warm film,positive\n")
    before = sorted(path for path in (tmp_path / "run").rglob("*"))
    line = refusal(unfinished)
    assert line.startswith(f"{tmp_path}/run/checkpoints/step-00000015: the data is not that of this run any more: ")
    assert "train has 129 rows, had 128" in line
    assert "the labels are" not in line
    assert line.endswith("restore it to resume, or start over with --train.overwrite or in another train.output_dir")
    assert sorted(path for path in (tmp_path / "run").rglob("*")) == before


def test_a_renamed_label_is_refused_whether_or_not_the_order_changes(unfinished, reviews):
    text = reviews.read_text()
    reviews.write_text(text.replace(",negative", ",znegative"))
    assert "the labels are positive, znegative, were negative, positive" in refusal(unfinished)
    reviews.write_text(text.replace(",negative", ",bad"))
    line = refusal(unfinished)
    assert line.count(": the labels are bad, positive, were negative, positive; restore") == 1


def test_a_word_in_place_of_another_is_refused(unfinished, reviews):
    reviews.write_text(reviews.read_text().replace("gripping", "touching"))
    line = refusal(unfinished)
    assert "the vocabulary has other tokens; restore" in line
    assert "rows" not in line or "has other rows" in line


def test_the_same_rows_in_another_file_and_cache_go_on(unfinished, reviews, tmp_path, monkeypatch):
    """What the rows do not show, such as the quotes of a table or an unused column, may change."""
    monkeypatch.setenv("FINETUNE_CACHE", str(tmp_path / "another cache"))
    header, *rows = reviews.read_text().splitlines()
    reviews.write_text("\n".join([f"{header},number", *(f"{row},{number}" for number, row in enumerate(rows))]))
    train(unfinished)
    assert_same_weights(tmp_path / "run", tmp_path / "undisturbed")


def test_a_checkpoint_of_an_older_version_has_no_fingerprints_and_goes_on(unfinished, tmp_path):
    for folder in checkpoint.list_checkpoints(tmp_path / "run"):
        (folder / checkpoint.DATA).unlink()
        checkpoint.storage.seal(folder)
    train(unfinished)
    assert_same_weights(tmp_path / "run", tmp_path / "undisturbed")
