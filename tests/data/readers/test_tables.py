"""Parquet and Arrow: rows with their numbers, and the names of classes in whatever form datasets has noted them."""

from __future__ import annotations

import json

import datasets
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Features, Sequence, Value

from pipeline.config.data import Data
from pipeline.config.formats import FORMATS, Part
from pipeline.config.sources import resolve
from pipeline.data import hub_source, sources
from pipeline.data.readers import registry
from pipeline.data.readers.features import in_features
from pipeline.data.rows import batches
from pipeline.errors import UserError
from pipeline.tasks.ner import Ner
from pipeline.tasks.sentiment import Sentiment

CLASSES = ["negative", "positive"]
TABLE = pa.table({"text": ["fine", "bad", "so-so"], "label": [1, 0, 1]})


def read(file) -> list[tuple[int, dict]]:
    source = resolve(Data(str(file)))
    found = batches(registry.read(source.parts["train"][0], source.data, []))
    return [row for batch in found for row in batch.rows()]


def write(file, kind: str) -> None:
    if kind == "stream":
        with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_stream(sink, TABLE.schema) as stream:
            stream.write_table(TABLE, max_chunksize=2)
    elif kind == "file":
        with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, TABLE.schema) as stream:
            stream.write_table(TABLE, max_chunksize=2)
    else:
        pa.feather.write_feather(TABLE, file, version=int(kind[-1]))


@pytest.mark.parametrize("kind", ["stream", "file", "feather1", "feather2"])
@pytest.mark.parametrize("name", ["a.arrow", "a.feather", "a"])
def test_arrow_is_read_in_each_of_its_forms(tmp_path, kind, name):
    import pyarrow.feather  # noqa: F401

    write(tmp_path / name, kind)
    assert read(tmp_path / name) == list(enumerate(TABLE.to_pylist(), start=1))


def test_damaged_arrow_is_refused(tmp_path):
    write(tmp_path / "a.arrow", "stream")
    content = (tmp_path / "a.arrow").read_bytes()
    (tmp_path / "a.arrow").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"a.arrow: not a readable Arrow file after row \d"):
        read(tmp_path / "a.arrow")


def test_what_save_to_disk_wrote_is_read_with_the_names_of_its_classes(tmp_path):
    features = Features({"text": Value("string"), "label": ClassLabel(names=CLASSES)})
    rows = datasets.Dataset.from_dict({"text": ["fine", "bad", "dull"], "label": [1, 0, 0]}, features)
    datasets.DatasetDict(train=rows, test=rows.select([1])).save_to_disk(
        tmp_path / "saved", num_shards={"train": 2, "test": 1}
    )
    (tmp_path / "work").mkdir()
    loaded = sources.load(sources.locate(Data(str(tmp_path / "saved"))), Sentiment.columns, tmp_path / "work")
    assert loaded.splits["train"]["text"] == ["fine", "bad", "dull"]
    assert loaded.splits["train"]["label"] == ["positive", "negative", "negative"]
    assert loaded.splits["test"]["label"] == ["negative"]
    assert loaded.label_names == CLASSES


LABEL = {"names": ["O", "B-PER"], "_type": "ClassLabel"}


@pytest.mark.parametrize(
    "kind",
    [
        LABEL,
        {**LABEL, "num_classes": 2, "id": None},
        [LABEL],
        {"feature": LABEL, "_type": "Sequence"},
        {"feature": LABEL, "length": -1, "id": None, "_type": "Sequence"},
        {"feature": LABEL, "_type": "List"},
        {"feature": LABEL, "_type": "LargeList"},
        [[LABEL]],
    ],
)
def test_names_of_classes_are_read_in_the_form_of_every_version(tmp_path, kind):
    assert in_features({"tags": kind, "text": {"dtype": "string", "_type": "Value"}}) == {"tags": ["O", "B-PER"]}
    noted = json.dumps({"info": {"features": {"tags": kind}}})
    table = pa.table({"tags": [[0, 1]]}).replace_schema_metadata({"huggingface": noted})
    pq.write_table(table, tmp_path / "a.parquet")
    assert registry.class_names(Part(tmp_path / "a.parquet", FORMATS["parquet"])) == {"tags": ["O", "B-PER"]}


@pytest.mark.parametrize("kind", [None, "int64", [], [1, 2], {"_type": "Value"}, {"feature": None, "_type": "List"}])
def test_other_features_have_no_classes(kind):
    assert in_features({"tags": kind}) == {}


@pytest.mark.parametrize("names", ["{'0': negative, '1': positive}", "[negative, positive]"])
def test_the_names_in_the_card_of_a_clone_are_those_of_its_table(tmp_path, names):
    features = f"[{{name: label, dtype: {{class_label: {{names: {names}}}}}}}]"
    (tmp_path / "README.md").write_text(f"---\ndataset_info:\n  features: {features}\n---\n")
    (tmp_path / "train.csv").write_text("text,label\nfine,1\nrain,0\n")
    (tmp_path / "work").mkdir()
    loaded = sources.load(sources.locate(Data(str(tmp_path))), Sentiment.columns, tmp_path / "work")
    assert loaded.splits["train"]["label"] == ["positive", "negative"]
    assert loaded.label_names == CLASSES


def test_tags_of_a_parquet_file_get_their_names(tmp_path):
    features = Features({"tokens": Sequence(Value("string")), "ner_tags": Sequence(ClassLabel(names=["O", "B-PER"]))})
    rows = {"tokens": [["Ada", "sings"]], "ner_tags": [[1, 0]]}
    datasets.Dataset.from_dict(rows, features).to_parquet(tmp_path / "a.parquet")
    loaded = sources.load(sources.locate(Data(str(tmp_path / "a.parquet"))), Ner.columns, tmp_path)
    assert loaded.classes == ["O", "B-PER"]


def test_the_nameless_index_and_the_categories_of_pandas_are_read_as_their_values(tmp_path):
    frame = pd.DataFrame({"text": ["fine", "bad", "dull"], "label": pd.Categorical(["good", "bad", "bad"])})
    frame[frame.label == "bad"].to_parquet(tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet") == [(1, {"text": "bad", "label": "bad"}), (2, {"text": "dull", "label": "bad"})]


def test_rows_of_several_parts_are_all_there(tmp_path):
    for part in range(2):
        pq.write_table(TABLE, tmp_path / f"train-0000{part}-of-00002.parquet", row_group_size=1)
    source = sources.locate(Data(str(tmp_path)))
    (tmp_path / "work").mkdir()
    loaded = sources.load(source, Sentiment.columns, tmp_path / "work")
    assert loaded.splits["train"]["text"] == TABLE["text"].to_pylist() * 2
    assert loaded.names["train"].at(loaded.splits["train"]["line"][4]) == f"{tmp_path}/train-00001-of-00002.parquet:2"


ANNOTATED = [
    {"text": "Ann saw Rome", "spans": [{"start": 0, "end": 3, "label": "PER"}, {"start": 8, "end": 12, "label": 7}]},
    {"text": "it", "spans": []},
    {"text": "so", "spans": None},
]


@pytest.mark.parametrize("kind", [datasets.Json(), datasets.List(datasets.Json())], ids=["value", "list"])
@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
def test_the_type_json_of_datasets_is_read_as_what_it_holds(kind, suffix, tmp_path):
    made = datasets.Dataset.from_list(ANNOTATED, features=Features({"text": Value("string"), "spans": kind}))
    file = tmp_path / f"train.{suffix}"
    if suffix == "parquet":
        made.to_parquet(file)
    else:
        made.save_to_disk(tmp_path / "saved")
        next((tmp_path / "saved").glob("*.arrow")).rename(file)
    assert read(file) == list(enumerate(ANNOTATED, start=1))


def test_a_dataset_of_the_hub_decodes_json_as_its_files_do():
    features = Features({"text": Value("string"), "spans": datasets.List(datasets.Json())})
    made = datasets.Dataset.from_list(ANNOTATED, features=features)
    found = [row for batch in hub_source._rows(made, Data("owner/name")) for row in batch.rows()]
    assert found == list(enumerate(ANNOTATED, start=1))


def test_json_is_decoded_within_lists_and_structs(tmp_path):
    """As in a dataset of chats, whose tools have arguments of any kind."""
    inner = pa.struct([("name", pa.string()), ("arguments", pa.json_())])
    storage = pa.array(
        [[{"name": "add", "arguments": "[1, 2.5]"}, {"name": "stop", "arguments": None}], []],
        pa.list_(pa.struct([("name", pa.string()), ("arguments", pa.string())])),
    )
    pq.write_table(pa.table({"calls": storage.cast(pa.list_(inner)), "n": [1, 2]}), tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet") == [
        (1, {"calls": [{"name": "add", "arguments": [1, 2.5]}, {"name": "stop", "arguments": None}], "n": 1}),
        (2, {"calls": [], "n": 2}),
    ]


def test_labels_of_several_kinds_in_a_column_of_json_are_read(tmp_path):
    rows = [{"text": f"row {number}", "label": "new" if number % 2 else 7} for number in range(6)]
    made = datasets.Dataset.from_list(rows, on_mixed_types="use_json")
    made.to_parquet(tmp_path / "train.parquet")
    (tmp_path / "work").mkdir()
    found = sources.load(sources.locate(Data(str(tmp_path / "train.parquet"))), Sentiment.columns, tmp_path / "work")
    assert set(found.splits["train"]["label"]) == {"7", "new"}


def test_entities_in_a_column_of_json_are_found(tmp_path):
    made = datasets.Dataset.from_list(
        [{"text": "Ann saw Rome", "spans": [{"start": 0, "end": 3, "label": "PER"}]}] * 3, on_mixed_types="use_json"
    ).cast_column("spans", datasets.Json())
    made.to_parquet(tmp_path / "train.parquet")
    (tmp_path / "work").mkdir()
    found = sources.load(sources.locate(Data(str(tmp_path / "train.parquet"))), Ner.columns, tmp_path / "work")
    assert found.splits["train"]["tags"][0] == ["B-PER", "O", "O"]


def test_text_of_the_type_json_that_is_none_is_refused_with_its_row(tmp_path):
    column = pa.ExtensionArray.from_storage(pa.json_(), pa.array(["[1]", "{'a'"]))
    pq.write_table(pa.table({"a": column}), tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"a.parquet:2: .*not JSON"):
        read(tmp_path / "a.parquet")
