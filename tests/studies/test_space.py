"""What a search draws from is written in one line for each setting, and checked against the recipe."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipeline import Data, Pretrained, Recipe, Recurrent, Scratch, UserError
from pipeline.config.changes import with_settings
from pipeline.studies.space import Choice, Range, default, parse

GRU = Recipe(name="gru", task="sentiment", data=Data(source="reviews.csv"), model=Recurrent(cell="gru"))


@pytest.mark.parametrize(
    ("text", "name", "drawn"),
    [
        ("optim.learning_rate=1e-4..1e-2:log", "optim.learning_rate", Range(1e-4, 1e-2, log=True)),
        ("model.dropout = 0..0.5", "model.dropout", Range(0.0, 0.5)),
        ("model.layers=1..3", "model.layers", Range(1, 3)),
        ("model.cell=lstm,gru", "model.cell", Choice(("lstm", "gru"))),
        ("model.bidirectional=true,False", "model.bidirectional", Choice((True, False))),
        ("model.vectors=None,sample:glove-6b-50d", "model.vectors", Choice((None, "sample:glove-6b-50d"))),
        ("train.batch_size=16,32", "train.batch_size", Choice((16, 32))),
    ],
)
def test_a_line_describes_a_range_or_values_of_the_type_of_the_setting(text, name, drawn):
    found = parse([text], GRU)
    assert found == {name: drawn}
    if isinstance(drawn, Range):
        assert type(found[name].low) is type(drawn.low)


def test_a_file_holds_a_line_for_each_setting(tmp_path):
    (tmp_path / "space.txt").write_text("# what to draw\n\nmodel.layers=1..2  # few\nmodel.cell=rnn,gru\n")
    assert parse([str(tmp_path / "space.txt")], GRU) == parse(["model.layers=1..2", "model.cell=rnn,gru"], GRU)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["model.layer=1..2"], "model.layer: no such setting; did you mean model.layers?"),
        (["model.layers=0..2"], "model.layers: 0 is out of range"),
        (["model.layers=1..2.5"], "model.layers: 2.5 is not an integer"),
        (["model.layers=2..2"], "model.layers: 2 is not below 2"),
        (["model.layers=a..b"], "a..b is not a range of numbers"),
        (["model.layers=1..inf"], "1..inf is not a range of numbers"),
        ([f"model.layers=1..1{'0' * 400}"], "is not a range of numbers"),
        (["optim.learning_rate=1e-4..1e999"], "1e-4..1e999 is not a range of numbers"),
        (["model.dropout=nan..0.5"], "nan..0.5 is not a range of numbers"),
        (["model.dropout=nan,0.5"], "model.dropout: 'nan' is not a number"),
        (["model.dropout=0..0.5:log"], "a logarithmic range begins above 0, not at 0"),
        (["model.dropout=0..0.5:lin"], "unknown scale 'lin'"),
        (["model.dropout=0.1..1.0"], "model.dropout: 1.0 is out of range"),
        (["model.cell=gru,gruu"], "'gruu' is not a valid choice"),
        (["model.layers=1,1"], "a value is there twice"),
        (["model.layers=1,2", "model.layers=1..2"], "model.layers is there twice"),
        (["model.layers="], "it has no values"),
        (["train.seed=1,2"], "a search cannot draw it"),
        (["nowhere.txt"], "nowhere.txt is not a file, and has no ="),
    ],
)
def test_what_cannot_be_drawn_is_refused(texts, message):
    with pytest.raises(UserError) as refused:
        parse(texts, GRU)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    "model", [Recurrent(), Scratch(), Scratch(hidden_size=96, heads=3), Pretrained(checkpoint="x")]
)
@pytest.mark.parametrize("task", ["sentiment", "ner", "next_word"])
def test_the_default_space_can_be_drawn_for_every_kind_of_model(model, task):
    recipe = replace(GRU, task=task, model=model)
    found = default(recipe)
    assert "optim.learning_rate" in found
    assert len(found) >= 4
    for name, drawn in found.items():
        for value in drawn.values if isinstance(drawn, Choice) else (drawn.low, drawn.high):
            with_settings(recipe, {name: value})
