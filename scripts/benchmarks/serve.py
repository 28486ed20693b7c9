"""What `finetune serve` answers over loopback: requests per second, latencies, and what a SIGTERM under load loses."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import psutil

from benchmarks.common import ROTTEN_TOMATOES, RowsOfTable

ROOT = Path(__file__).parents[2]
TEXTS = 2000
SECONDS = 3.0  # of a measurement, and before and after the SIGTERM
# Concurrent clients, and the texts of each of their requests.
LOADS, CROWD = ((1, 1), (32, 1), (4, 32)), 200
RETRY = 0.02  # seconds until a client that was refused tries again
# What becomes of a request that gets no status: there is no server to connect to, it closes the connection before it
# answers anything, or in the middle of a response.
NOT_CONNECTED, CLOSED, CUT = "no server", "closed", "cut off"
COUNTS = ("answered", "503", NOT_CONNECTED, CLOSED, "lost")


@dataclass
class Seen:
    """What clients have seen: the seconds until each answer, and the number of requests by status, or by what became
    of them."""

    seconds: list[float] = field(default_factory=list)
    outcomes: Counter[Any] = field(default_factory=Counter)


def serve(pairs: int, models: Sequence[Path]) -> RowsOfTable:
    """Of each model, texts and requests per second, the latencies of requests and the server's CPU time, measured in
    turn: medians over pairs. Then what becomes of the requests of 200 clients when the server gets a SIGTERM.

    Args:
        models: folders of models that read single texts: runs, models or exports.
    """
    texts, rows = _texts(), []
    with contextlib.ExitStack() as stack:
        servers = {model: stack.enter_context(_Server.of(model)) for model in models}
        cases = [(model, *load) for model in models for load in LOADS]
        found = [{case: _measure(servers[case[0]], *case[1:], texts) for case in cases} for _ in range(pairs)]
    for model, clients, size in cases:
        turns = [turn[model, clients, size] for turn in found]
        medians = {name: statistics.median(turn[name] for turn in turns) for name in turns[0]}
        own = {"model": model.name, "clients": clients, "texts": size}
        rows.append({**own, **medians, **dict.fromkeys(COUNTS, "")})
    for model in models:
        own = {"model": model.name, "clients": f"{CROWD}, SIGTERM", "texts": 1}
        rows.append({**own, **dict.fromkeys(medians, ""), **_stop(model, texts)})
    return rows


def _texts() -> list[str]:
    from pipeline.data import new_rows
    from pipeline.data.sources import locate
    from pipeline.tasks.base import load_task

    rows = new_rows.read(locate(ROTTEN_TOMATOES), load_task("sentiment"), None, "train", lambda line: None)
    return [str(row.content) for row in islice(rows, TEXTS)]


@dataclass
class _Server:
    """`finetune serve` in a process of its own, on one thread and a free port."""

    process: subprocess.Popen[str]
    port: int

    @classmethod
    @contextlib.contextmanager
    def of(cls, model: Path) -> Iterator[_Server]:
        command = [sys.executable, "-m", "pipeline", "serve", str(model.resolve()), "--port", "0"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=environment)
        try:
            line = process.stdout.readline() if process.stdout else ""
            found = re.search(r":(\d+)/predict", line)
            if found is None:
                raise SystemExit(f"finetune serve {model} does not start")
            yield cls(process, int(found[1]))
        finally:
            process.kill()
            process.communicate()

    def cpu_seconds(self) -> float:
        times = psutil.Process(self.process.pid).cpu_times()
        return float(times.user + times.system)


def _measure(server: _Server, clients: int, size: int, texts: list[str]) -> dict[str, float]:
    before, started = server.cpu_seconds(), time.perf_counter()
    seen = asyncio.run(_crowd(server.port, clients, size, texts, SECONDS))
    spent, elapsed = server.cpu_seconds() - before, time.perf_counter() - started
    answered = seen.outcomes[200]
    if set(seen.outcomes) != {200}:
        raise SystemExit(f"a server that nobody has stopped has not answered everything: {dict(seen.outcomes)}")
    return {
        "texts/s": answered * size / elapsed,
        "requests/s": answered / elapsed,
        "p50 ms": statistics.median(seen.seconds) * 1000,
        "p95 ms": statistics.quantiles(seen.seconds, n=20)[-1] * 1000,
        "CPU ms": spent / answered * 1000,
    }


def _stop(model: Path, texts: list[str]) -> dict[str, int]:
    """Outcomes of the requests of a crowd that goes on while the server stops. A request is lost if the server says
    that it has answered or refused it and no client has read that, or if its response is cut off."""
    with _Server.of(model) as server:
        seen = asyncio.run(_crowd(server.port, CROWD, 1, texts, 2 * SECONDS, server.process.terminate))
        printed, _ = server.process.communicate(timeout=60)
    said = re.fullmatch(r"stopped: ([\d,]+) requests answered, ([\d,]+) refused\n", printed)
    if server.process.returncode != 0 or said is None:
        raise SystemExit(f"the server has ended with {server.process.returncode}: {printed}")
    answered, refused = (int(number.replace(",", "")) for number in said.groups())
    outcomes = seen.outcomes
    lost = abs(answered - outcomes[200]) + abs(refused - outcomes[503]) + outcomes[CUT]
    found = (answered, refused, outcomes[NOT_CONNECTED], outcomes[CLOSED], lost)
    return dict(zip(COUNTS, found, strict=True))


async def _crowd(
    port: int,
    clients: int,
    size: int,
    texts: list[str],
    seconds: float,
    in_the_middle: Callable[[], None] | None = None,
) -> Seen:
    """Clients that send one request of `size` texts after the other for this many seconds, each on a connection that it
    keeps."""
    seen, ends = Seen(), time.perf_counter() + seconds
    requests = [texts[start : start + size] for start in range(0, len(texts) - size + 1, size)]
    all_clients = [_client(port, requests[number % len(requests) :: clients], ends, seen) for number in range(clients)]
    if in_the_middle is not None:
        asyncio.get_running_loop().call_later(seconds / 2, in_the_middle)
    await asyncio.gather(*all_clients)
    return seen


async def _client(port: int, requests: list[list[str]], ends: float, seen: Seen) -> None:
    connection: _Connection | None = None
    for texts in cycle(requests):
        started = time.perf_counter()
        if started > ends:
            break
        if connection is None:
            try:
                connection = _Connection(*await asyncio.open_connection("127.0.0.1", port))
            except ConnectionError:
                seen.outcomes[NOT_CONNECTED] += 1
                await asyncio.sleep(RETRY)
                continue
        outcome = await connection.ask(texts)
        seen.outcomes[outcome] += 1
        if outcome == 200:
            seen.seconds.append(time.perf_counter() - started)
        if outcome != 200 or connection.is_closed:
            connection.close()
            connection = None
    if connection is not None:
        connection.close()


class _Connection:
    """A connection that asks one request after the other; our own, because the time of a client library would count."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        self._reader, self._writer = reader, writer
        self.is_closed = False

    async def ask(self, texts: list[str]) -> int | str:
        """The status of the response, or what became of the request."""
        body = json.dumps({"inputs": texts}).encode()
        head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        found = b""
        try:
            self._writer.write(head.encode() + b"\r\n\r\n" + body)
            found = await self._reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"(?i)^content-length: (\d+)", found, re.MULTILINE)
            content = await self._reader.readexactly(int(length[1]) if length else 0)
        except asyncio.IncompleteReadError as error:
            return CUT if found or error.partial else CLOSED
        except ConnectionError:
            return CUT if found else CLOSED
        status = int(found.split()[1])
        if status == 200 and [answer["text"] for answer in json.loads(content)] != texts:
            raise SystemExit(f"the answers to other texts came to {texts}: {content!r}")
        self.is_closed = b"\r\nconnection: close" in found.lower()
        return status

    def close(self) -> None:
        self._writer.close()
