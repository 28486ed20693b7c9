"""What a server accepts, and how long it waits."""

from __future__ import annotations

from pipeline.config.schema import Count, NotNegative, Positive, Settings, settings

# Bodies of the largest size that may be in memory before they are read: without a limit, clients that each send almost
# a whole body would fill the memory before the queue could refuse anything.
BODIES_AT_ONCE = 64


@settings("")
class Limits(Settings):
    """Limits of requests, and the size of batches. What exceeds one is refused with a status of 4xx or 503."""

    max_body: Count = 1_000_000
    """bytes of a request; all requests that are arriving may have 64 times as many together."""
    max_texts: Count = 256
    """texts of a request."""
    max_length: Count = 20_000
    """characters of a text, a pair of texts or a list of words."""
    max_generate: Count = 256
    """for next_word: tokens by which a request may have its texts continued."""
    max_beams: Count = 16
    """for translation: beams with which a request may have its texts translated, and translations of each."""
    max_queue: Count = 1024
    """texts of all requests that may wait at a time."""
    timeout: Positive = 30.0
    """seconds until a request that has not been answered is refused."""
    batch_size: Count = 32
    """texts that go through the model together, at most."""
    batch_wait: NotNegative = 2.0
    """milliseconds that a text waits for others to go through the model with it, at most, while the model is free."""

    @property
    def max_bodies(self) -> int:
        """Bytes of all bodies that are in memory and have not been read yet."""
        return BODIES_AT_ONCE * self.max_body

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_texts > self.max_queue:
            self.refuse(
                "max_texts", f"{self.max_texts} texts never fit into a queue of {self.max_queue}; set max_queue"
            )
