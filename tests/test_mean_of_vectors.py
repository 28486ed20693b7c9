"""The floor for classifiers that start from word vectors: what scripts/mean_of_vectors.py prints."""

from __future__ import annotations

import json
import re
import runpy

import numpy as np
import pyarrow as pa
import pytest
from conftest import NEGATIVE, POSITIVE, ROOT

from pipeline.errors import UserError

SCRIPT = runpy.run_path(str(ROOT / "scripts/mean_of_vectors.py"))
RECIPE = """
from pipeline import Data, Recipe, Recurrent

recipe = Recipe("x", "sentiment", Data("{folder}/rows.jsonl"), Recurrent(vectors={vectors!r}))
"""


def test_features_do_not_depend_on_the_order_and_an_empty_text_has_zeros():
    matrix = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
    rows = pa.chunked_array([[[1, 2, 5], [5, 1, 2], []]])
    read = SCRIPT["features"](rows, matrix, SCRIPT["FEATURES"]["mean, minimum, maximum"])
    ordered = np.sort(matrix[[1, 2, 5]], axis=0)
    expected = np.concatenate([ordered.sum(axis=0) / 3, ordered[0], ordered[-1]])
    np.testing.assert_allclose(read, [expected, expected, np.zeros(12)], atol=1e-6)


def test_vectors_that_tell_the_classes_apart_get_everything_right(tmp_path, capsys):
    rows = [
        {"text": f"{text} {number}", "label": label}
        for number in range(10)
        for label, texts in (("good", POSITIVE), ("bad", NEGATIVE))
        for text in texts
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    words = sorted({word for row in rows for word in re.findall(r"\w+", row["text"])})
    only = [{word for text in texts for word in re.findall(r"\w+", text)} for texts in (POSITIVE, NEGATIVE)]
    lines = [f"{word} {int(word in only[0]) - int(word in only[1])} 0.5" for word in words]
    (tmp_path / "vectors.txt").write_text("\n".join(lines))
    file = tmp_path / "recipe.py"
    file.write_text(RECIPE.format(folder=tmp_path, vectors=str(tmp_path / "vectors.txt")))
    SCRIPT["measure"](SCRIPT["Options"](file))
    printed = capsys.readouterr().out.splitlines()
    assert printed[2:] == [f"| {name} | 1.0000 | 1.0000 |" for name in SCRIPT["FEATURES"]]


def test_a_recipe_without_vectors_is_refused(tmp_path):
    file = tmp_path / "recipe.py"
    file.write_text(RECIPE.format(folder=tmp_path, vectors=None))
    with pytest.raises(UserError, match=r"recipe\.py: it has no model\.vectors"):
        SCRIPT["measure"](SCRIPT["Options"](file))
