"""Trees of the Stanford Sentiment Treebank, one a line: `(3 (2 It) (4 (2 is) (4 funny)))`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from pipeline.config.data import Data
from pipeline.data.readers.common import NumberedRow, lines
from pipeline.errors import UserError

ROOT = re.compile(r"\((\d+)\s")
LEAF = re.compile(r"\(\d+\s+([^\s()]+)\)")
BRACKETS = {"-LRB-": "(", "-RRB-": ")", "-LSB-": "[", "-RSB-": "]", "-LCB-": "{", "-RCB-": "}"}


def read(file: Path, data: Data, warnings: list[str]) -> Iterator[NumberedRow]:
    """The label of the root, and its words, joined by blanks; escaped brackets and slashes are read as such.

    Raises:
        UserError: a line is not a tree.
    """
    for number, line in lines(file, data):
        tree = line.strip()
        if not tree:
            continue
        root, words = ROOT.match(tree), LEAF.findall(tree)
        if root is None or not words or tree.count("(") != tree.count(")"):
            raise UserError(f"{file}:{number}: not a tree with labels, such as (3 (2 It) (4 (2 is) (4 funny)))")
        yield number, {"text": " ".join(map(_word, words)), "label": root[1]}


def _word(leaf: str) -> str:
    return BRACKETS.get(leaf, leaf.replace("\\/", "/").replace("\\*", "*"))
