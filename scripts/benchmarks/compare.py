"""What `finetune compare` costs: whole processes on made-up runs of many rows."""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.common import RowsOfTable

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "tests/compare"))
# Kind of the rows, see tests/compare/run_folders.py -> numbers of runs and rows.
SIZES = ((2, 1_000), (2, 100_000), (10, 10_000))


def compare(pairs: int) -> RowsOfTable:
    """CPU seconds of `finetune compare RUN... --json`: the median of `pairs` processes."""
    from run_folders import KINDS, write_run

    rows = []
    for kind in KINDS:
        for runs, size in SIZES:
            with tempfile.TemporaryDirectory() as name:
                folders = [
                    write_run(Path(name) / f"{n}", kind, rows=size, skill=0.8 - n / 100, hidden_size=8 + n)
                    for n in range(runs)
                ]
                seconds = statistics.median(_cpu_seconds(folders) for _ in range(pairs))
            rows.append({"rows are": kind, "runs": runs, "rows": f"{size:,}", "CPU s": seconds})
    return rows


def _cpu_seconds(folders: list[Path]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "pipeline", "compare", *map(str, folders), "--json"]
    subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
