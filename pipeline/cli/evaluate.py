"""`finetune evaluate`: score a saved model on new data."""

from __future__ import annotations

import json
from typing import Annotated, Literal

import tyro

from pipeline import predictions
from pipeline.cli import arguments, startup
from pipeline.cli.arguments import LABELS_INFERRED, Arguments, ReadingLabels
from pipeline.config import sources
from pipeline.config.data import Data, DataFormat
from pipeline.config.schema import Count


def _evaluate(
    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")],
    data: str,
    split: Literal["train", "validation", "test"] = "test",
    batch_size: Count = 32,
    rows: str | None = None,
    cache: Count | None = None,
    reading: tyro.conf.OmitArgPrefixes[ReadingLabels] = LABELS_INFERRED,
    format: DataFormat | None = None,
    limit: Count | None = None,
    revision: str | None = None,
    subset: str | None = None,
    separate: bool | None = None,
    model_revision: str | None = None,
    trust_remote_code: bool = False,
    allow_pickle: bool = False,
) -> None:
    """Score a model on new data and print its metrics as JSON.

    Example: finetune evaluate runs/sentiment-bilstm --data reviews.csv

    Args:
        model: folder of a run or of a model, or Hub id.
        data: file, folder, Hub id or sample:NAME.
        split: split to score; if the data has a single split, that one is scored.
        batch_size: rows per batch; the scores do not depend on it.
        rows: file, ending in .parquet, that gets each row with what the model makes of it.
        cache: for recurrent next_word models: also predict with a continuous cache of this many words (Grave et al.
            2017), mixed in as is best on the validation split.
        format: format of a local file, such as conll; needed only if it cannot be inferred.
        limit: score at most this many rows.
        revision: commit, tag or branch of a Hub dataset.
        subset: configuration of a Hub dataset that has several.
        separate: for next_word: treat each row as a separate document, not as a line of running text.
        model_revision: commit, tag or branch of a Hub model.
        trust_remote_code: run the code that comes with the model.
        allow_pickle: read weights from pytorch_model.bin if there are no safetensors.
    """
    chosen = Data(
        source=data,
        revision=revision,
        subset=subset,
        format=format,
        **reading.settings(),
        limit=limit,
        separate=separate,
    )
    file = None if rows is None else predictions.check_target(rows, "rows")
    sources.resolve(chosen)
    options = {"revision": model_revision, "trust_remote_code": trust_remote_code, "allow_pickle": allow_pickle}
    arguments.check_model(model, model_revision, trust_remote_code, "model-revision")
    with startup.importing("pipeline.data.new_data", "pipeline.training.evaluation"):
        from pipeline import inference
    scores = inference.evaluate(model, chosen, split, batch_size, rows=file, cache=cache, **options)
    if arguments.is_main_process():
        print(json.dumps(scores, indent=2, ensure_ascii=False))


def command(given: Arguments) -> None:
    arguments.call(_evaluate, given, "finetune evaluate")
