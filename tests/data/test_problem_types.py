"""What the labels of a text are, one class, any number of classes or a number, is read off the data; and pairs of texts
by the names of their columns."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.config.data import Data
from pipeline.data import sources
from pipeline.data.sources import LoadedSource
from pipeline.errors import UserError
from pipeline.tasks.sentiment import Sentiment

SINGLE, MULTI, REGRESSION = "single_label_classification", "multi_label_classification", "regression"
ROWS = 12


def text(number: int) -> str:
    return f"the {['red', 'blue', 'green'][number % 3]} house has door {number}"


def load(tmp_path, name: str, content: str, **settings: Any) -> LoadedSource:
    (tmp_path / name).write_text(content)
    source = sources.locate(Data(str(tmp_path / name), **settings), "sentiment")
    return sources.load(source, Sentiment.columns, tmp_path, pairs=Sentiment.pairs)


def jsonl(label: Any, name: str = "label") -> str:
    """Rows whose labels are taken in turn from a list."""
    rows = [{"text": text(number), name: label[number % len(label)]} for number in range(ROWS)]
    return "".join(json.dumps(row) + "\n" for row in rows)


def csv(labels: list[str], name: str = "label") -> str:
    return f"text,{name}\n" + "".join(f'{text(number)},"{labels[number % len(labels)]}"\n' for number in range(ROWS))


def labels_of(loaded: LoadedSource) -> list[Any]:
    return loaded.splits["train"]["label"][:3]


def test_a_list_of_one_name_in_each_row_is_that_name(tmp_path):
    loaded = load(tmp_path, "a.jsonl", jsonl([["calm"], ["loud"]]))
    assert (loaded.columns.problem_type, labels_of(loaded)) == (SINGLE, ["calm", "loud", "calm"])
    assert loaded.warnings == []


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("lists.jsonl", jsonl([["calm"], ["loud", "new"], []])),
        ("mixed.jsonl", jsonl(["calm", ["loud", "new"], []])),
        ("json.csv", csv(["['calm']", "['loud', 'new']", "[]"])),
        ("quoted.csv", csv(['[""calm""]', '[""loud"", ""new""]', "[]"])),
    ],
)
def test_lists_of_labels_are_any_number_of_labels_and_an_empty_list_is_an_answer(name, content, tmp_path):
    loaded = load(tmp_path, name, content)
    assert loaded.columns.problem_type == MULTI
    assert labels_of(loaded) == [["calm"], ["loud", "new"], []]
    assert len(loaded.splits["train"]) == ROWS
    assert any("the model learns any number of labels a text" in line for line in loaded.warnings)


def test_numbers_in_lists_get_the_names_of_classes(tmp_path):
    names = ("0=joy", "1=fear", "2=anger")
    loaded = load(tmp_path, "go.jsonl", jsonl([[0], [1, 2]], "labels"), label_names=names)
    assert labels_of(loaded) == [["joy"], ["fear", "anger"], ["joy"]]
    assert loaded.label_names == ["joy", "fear", "anger"]


def test_columns_of_zeros_and_ones_are_labels_in_their_order(tmp_path):
    rows = "".join(f"{900 + n},{text(n)},{n % 2},{int(n % 3 == 0)},0\n" for n in range(ROWS))
    loaded = load(tmp_path, "toxic.csv", "id,comment,toxic,insult,threat\n" + rows)
    assert loaded.columns.problem_type == MULTI
    assert labels_of(loaded) == [["insult"], ["toxic"], []]
    # One that no row of train has is a label of the model, too.
    assert loaded.label_names == ["toxic", "insult", "threat"]
    assert str(loaded.columns).startswith("text = comment, label = toxic + insult + threat (of: id,")


def test_columns_of_true_and_false_are_labels_too(tmp_path):
    rows = [{"text": text(n), "joy": n % 2 == 0, "anger": n % 3 == 0} for n in range(ROWS)]
    loaded = load(tmp_path, "a.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    assert labels_of(loaded) == [["joy", "anger"], [], ["joy"]]
    lines = [f"{text(n)},{bool(n % 2)},{'FALSE' if n % 3 else 'TRUE'}\n" for n in range(ROWS)]
    assert labels_of(load(tmp_path, "b.csv", "text,joy,anger\n" + "".join(lines))) == [["anger"], ["joy"], []]


def test_ids_of_labels_joined_by_commas_are_pointed_out(tmp_path):
    """As in the files of GoEmotions, where some labels never occur alone."""
    loaded = load(tmp_path, "a.csv", csv(["27", "2,14", "3"]))
    assert any("'2,14' are read as classes of their own" in line for line in loaded.warnings)
    assert load(tmp_path, "b.csv", csv(["good", "bad, really"])).warnings == []


def test_columns_of_zeros_and_ones_beside_another_label_are_not_chosen_in_silence(tmp_path):
    rows = "".join(f"{n % 2},{int(n % 3 == 0)},{text(n)},{['for', 'against'][n % 2]}\n" for n in range(ROWS))
    with pytest.raises(UserError, match="which column holds the label, verified or retweet or stance"):
        load(tmp_path, "tweets.csv", "verified,retweet,text,stance\n" + rows)


def test_rows_of_new_data_whose_columns_are_minus_one_have_no_labels(tmp_path):
    """As in the published test data of Jigsaw; in training data, -1 may be a value as good as 0 and 1."""
    rows = "".join(f"{text(n)},{-1 if n % 3 == 0 else n % 2},{-1 if n % 3 == 0 else 0}\n" for n in range(ROWS))
    (tmp_path / "a.csv").write_text("comment,toxic,insult\n" + rows)
    source = sources.locate(Data(str(tmp_path / "a.csv")), "sentiment")
    loaded = sources.load(source, Sentiment.columns, tmp_path, known_labels=["toxic", "insult"], problem_type=MULTI)
    assert len(loaded.splits["train"]) == ROWS * 2 // 3
    with pytest.raises(UserError, match=r"no column looks like the label|which column holds the label"):
        load(tmp_path, "b.csv", "comment,toxic,insult\n" + rows)


@pytest.mark.parametrize("separator", [",", "|", ";"])
def test_several_labels_in_one_string_are_pointed_out_and_split_if_the_setting_says_so(separator, tmp_path):
    content = csv(["calm", f"calm{separator}loud", f"loud {separator} calm"])
    loaded = load(tmp_path, "a.csv", content)
    assert loaded.columns.problem_type == SINGLE
    assert not any("classes of their own" in line for line in loaded.warnings)  # loud alone is no label
    content = csv(["calm", f"calm{separator}loud", "loud"])
    loaded = load(tmp_path, "b.csv", content)
    assert any("are read as classes of their own" in line for line in loaded.warnings)
    loaded = load(tmp_path, "c.csv", content, problem_type=MULTI)
    assert labels_of(loaded) == [["calm"], ["calm", "loud"], ["loud"]]


def test_numbers_that_are_not_all_whole_are_numbers(tmp_path):
    loaded = load(tmp_path, "a.csv", csv(["0.5", "2", "3.25"]))
    assert (loaded.columns.problem_type, labels_of(loaded)) == (REGRESSION, [0.5, 2.0, 3.25])
    assert "set data.problem_type to single_label_classification" in loaded.warnings[0]


@pytest.mark.parametrize("labels", [["1.0", "0.0"], ["1", "5"], [1.0, 2.0], ["v1.5", "v2.5"]])
def test_whole_numbers_and_names_are_classes(labels, tmp_path):
    content = csv(labels) if isinstance(labels[0], str) else jsonl(labels)
    assert load(tmp_path, "a.csv" if isinstance(labels[0], str) else "a.jsonl", content).columns.problem_type == SINGLE


def test_the_setting_decides_before_the_values(tmp_path):
    assert labels_of(load(tmp_path, "a.csv", csv(["1", "2"]), problem_type=REGRESSION)) == [1.0, 2.0, 1.0]
    loaded = load(tmp_path, "b.csv", csv(["0.5", "1.5"]), problem_type=SINGLE)
    assert labels_of(loaded) == ["0.5", "1.5", "0.5"]


def test_numbers_with_names_are_classes(tmp_path):
    loaded = load(tmp_path, "a.csv", csv(["0.0", "0.5"]), label_names=("0=no", "0.5=half"))
    assert labels_of(loaded) == ["no", "half", "no"]
    with pytest.raises(UserError, match=r"^data\.label_names: numbers have no names"):
        Data("x", label_names=("0=no",), problem_type=REGRESSION)


def test_one_value_that_is_no_number_is_refused_with_its_line(tmp_path):
    content = csv(["0.5"]).replace('door 7,"0.5"', 'door 7,"five"')
    with pytest.raises(UserError, match=r"a\.csv:9: the label 'five' is not a number; .*data\.missing_labels"):
        load(tmp_path, "a.csv", content)
    loaded = load(tmp_path, "b.csv", content, missing_labels=("FIVE",))
    assert len(loaded.splits["train"]) == ROWS - 1


def test_a_mark_for_missing_numbers_is_no_number(tmp_path):
    loaded = load(tmp_path, "a.csv", csv(["-1", "0.5", "", "nan"]), missing_labels=("-1",))
    assert set(loaded.splits["train"]["label"]) == {0.5}


@pytest.mark.parametrize(
    ("header", "columns"),
    [
        ("sentence1,sentence2,score", "text = sentence1, text_pair = sentence2, label = score"),
        ("genre,sentence1,sentence2,score", "text = sentence1, text_pair = sentence2, label = score"),
        ("premise,hypothesis,label", "text = premise, text_pair = hypothesis, label = label"),
        ("qid1,question1,question2,is_duplicate", "text = question1, text_pair = question2, label = is_duplicate"),
        ("question,sentence,label", "text = question, text_pair = sentence, label = label"),
        ("Quality,#1 String,#2 String", "text = #1 String, text_pair = #2 String, label = Quality"),
        ("text_a,text_b,label", "text = text_a, text_pair = text_b, label = label"),
        ("Sentence 1,Sentence 2,class", "text = Sentence 1, text_pair = Sentence 2, label = class"),
        ("text,text_pair,label", "text = text, text_pair = text_pair, label = label"),
    ],
)
def test_pairs_of_texts_are_found_by_the_names_of_their_columns(header, columns, tmp_path):
    names = header.split(",")
    texts = [name for name in names if "entence" in name or "text" in name or "String" in name or "esis" in name]
    texts += [name for name in names if name in ("premise", "question", "question1", "question2")]

    def value(name: str, number: int) -> str:
        if name in texts:
            return text(number + texts.index(name))
        return {"score": f"{number / 4}", "qid1": f"{700 + number}"}.get(name, f"{number % 2}")

    rows = "".join(",".join(value(name, number) for name in names) + "\n" for number in range(ROWS))
    loaded = load(tmp_path, "pairs.csv", f"{header}\n{rows}")
    assert str(loaded.columns).partition(" (of: ")[0] == columns
    first = loaded.splits["train"][0]
    assert first["text"] != first["text_pair"]


def test_texts_of_unknown_names_need_both_settings(tmp_path):
    content = "prem,hypo,label\n" + "".join(f"{text(n)},{text(n + 1)},{n % 2}\n" for n in range(ROWS))
    with pytest.raises(UserError, match=r"Set data\.text_column, and for pairs of texts data\.text_pair_column, too"):
        load(tmp_path, "a.csv", content)
    loaded = load(tmp_path, "b.csv", content, text_column="prem", text_pair_column="hypo")
    assert loaded.splits["train"][0]["text_pair"] == text(1)


def test_a_pair_repeats_another_only_if_both_texts_do(tmp_path):
    from pipeline.data import checks

    rows = [{"premise": text(n // 3), "hypothesis": text(n), "label": n % 2} for n in range(ROWS)]
    loaded = load(tmp_path, "a.jsonl", "".join(json.dumps(row) + "\n" for row in [*rows, rows[0]]))
    assert checks.report(loaded.splits, loaded.names, loaded.empty)["duplicates"] == {"train": 1}


def test_a_premise_stays_in_one_split_with_all_its_hypotheses(tmp_path):
    from pipeline.data import splits

    rows = [{"premise": text(n // 3), "hypothesis": text(n), "label": n % 2} for n in range(90)]
    loaded = load(tmp_path, "a.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    carved = splits.complete(loaded.splits, Data("x"), "label", "a", [], folder=tmp_path)
    premises = [set(part["text"]) for part in carved.values()]
    assert sum(map(len, premises)) == len(set().union(*premises))


def test_a_row_is_left_out_only_if_both_texts_are_empty(tmp_path):
    rows = [("a house", ""), ("", "a door"), ("", " "), *((text(n), text(n + 1)) for n in range(ROWS))]
    made = [{"text_a": one, "text_b": two, "label": "xy"[n % 2]} for n, (one, two) in enumerate(rows)]
    loaded = load(tmp_path, "a.jsonl", "".join(json.dumps(row) + "\n" for row in made))
    assert len(loaded.splits["train"]) == ROWS + 2
    assert loaded.empty["train"] == [3]


def test_the_mark_of_snli_for_no_agreement_is_no_label_but_a_minus_beside_a_plus_is(tmp_path):
    loaded = load(tmp_path, "a.jsonl", jsonl(["neutral", "entailment", "-"], "gold_label"))
    assert set(loaded.splits["train"]["label"]) == {"neutral", "entailment"}
    assert any("the label - is read as no label" in line for line in loaded.warnings)
    loaded = load(tmp_path, "b.jsonl", jsonl(["+", "-"]))
    assert set(loaded.splits["train"]["label"]) == {"+", "-"}


def test_rare_labels_get_their_share_of_each_split(tmp_path):
    from pipeline.data import splits

    rows = [{"text": text(n), "label": ["common"] + ["rare"] * (n % 10 == 0)} for n in range(200)]
    loaded = load(tmp_path, "a.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    carved = splits.complete(loaded.splits, Data("x"), "label", "a", [], folder=tmp_path)
    counts = {name: sum("rare" in labels for labels in part["label"]) for name, part in carved.items()}
    assert counts == {"train": 16, "validation": 2, "test": 2}
