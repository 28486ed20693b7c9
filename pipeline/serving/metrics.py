"""What a server counts, in the text format of Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.process_collector import ProcessCollector

CONTENT_TYPE = CONTENT_TYPE_LATEST
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """Counters and histograms of one server, beside the memory and CPU time of its process."""

    def __init__(self) -> None:
        disable_created_metrics()  # a time of creation for each of them
        self._registry = CollectorRegistry()
        own = {"namespace": "finetune", "registry": self._registry}
        self.requests = Counter("requests", "Requests by path and status.", ["path", "status"], **own)
        self.seconds = Histogram(
            "request_seconds", "Seconds from a request for predictions to its response.", buckets=SECONDS, **own
        )
        self.batch_size = Histogram("batch_size", "Texts that went through the model together.", buckets=SIZES, **own)
        self.batch_seconds = Histogram("batch_seconds", "Seconds of the model on a batch.", buckets=SECONDS, **own)
        self._queue = Gauge("queue_texts", "Texts that wait for the model.", **own)
        ProcessCollector(registry=self._registry)

    def watch_queue(self, waiting: Callable[[], int]) -> None:
        """Report what `waiting` returns as the length of the queue."""
        self._queue.set_function(waiting)

    def add_batch(self, size: int, seconds: float) -> None:
        """Count a batch of `size` texts."""
        self.batch_size.observe(size)
        self.batch_seconds.observe(seconds)

    def page(self) -> bytes:
        """All of them, as a scraper reads them."""
        return generate_latest(self._registry)
