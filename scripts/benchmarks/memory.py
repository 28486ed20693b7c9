"""Peak memory with few rows and with many: it must not grow with the data."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.common import RowsOfTable
from pipeline import Train


def memory(pairs: int) -> RowsOfTable:
    """Peak memory of preparing and training on few and on many rows, each in a separate process.

    One measurement is enough, because memory hardly varies; `pairs` is not used.
    """
    return [{"rows": f"{rows:,}", **_memory_of(rows)} for rows in (10_000, 200_000)]


def _memory_of(rows: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.csv"
        _write_rows(file, rows)
        settings = dataclasses.asdict(Train(output_dir=f"{folder}/run", max_steps=100))
        code = (
            "import json, sys; from pipeline import *; from pipeline.run import train\n"
            "settings = json.loads(sys.argv[2])\n"
            "recipe = Recipe('m', 'sentiment', Data(sys.argv[1]), Recurrent(hidden_size=16), train=Train(**settings))\n"
            "print(train(recipe)['train']['peak_memory_bytes'])"
        )
        environment = {**os.environ, "FINETUNE_CACHE": f"{folder}/cache"}
        command = [sys.executable, "-c", code, str(file), json.dumps(settings)]
        output = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
        return {"file MiB": file.stat().st_size / 2**20, "peak MiB": int(output.split()[-1]) / 2**20}


def _write_rows(file: Path, rows: int) -> None:
    """Write different rows of 40 words, from 5,000."""
    import random

    generator = random.Random(0)
    with file.open("w", encoding="utf-8") as stream:
        stream.write("text,label\n")
        for number in range(rows):
            words = " ".join(f"word{generator.randrange(5000)}" for _ in range(40))
            stream.write(f"{words},{number % 2}\n")
