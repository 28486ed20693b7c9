"""Imports: before rows are read, nothing in data imports the libraries that take seconds."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest
from conftest import ROOT

DATA = ROOT / "pipeline/data"


@pytest.mark.parametrize("file", sorted(DATA.rglob("*.py")), ids=lambda file: str(file.relative_to(DATA)))
def test_datasets_and_pandas_are_imported_only_when_rows_are_read(file):
    """`finetune predict` reads no rows, and either takes a second to import."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    names = [alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in tree.body if isinstance(node, ast.ImportFrom)]
    assert not {name.split(".")[0] for name in names} & {"datasets", "pandas"}


def test_a_source_is_resolved_without_torch_and_arrow():
    code = "import sys, pipeline.config.sources; print(*{'torch', 'transformers', 'pyarrow'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split() == []
