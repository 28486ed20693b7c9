"""What a model card is made from: a recipe, what its run has measured, and what is known of the data."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.config.recipe import Recipe
from pipeline.config.samples import PREFIX


class Known(NamedTuple):
    """What is known of a packaged sample: its language, by ISO 639, and what its authors say of its licence."""

    language: str
    licence: str


SAMPLES = {
    "rotten_tomatoes": Known("en", "unknown"),
    "imdb": Known("en", "unknown"),
    "imdb_text": Known("en", "unknown"),
    "twitter_ner": Known("en", "unknown"),
    "hebrew_ner": Known("he", "not for commercial use"),
}


@dataclass(frozen=True)
class Facts:
    """What a card is made from.

    Attributes:
        metrics: metrics.json of the run.
        has_code: whether modeling files of ours lie beside the weights.
        labels: names of the classes.
        repo_id: where it will be; None: a local folder.
        license: of the model, by its id on the Hub.
        languages: codes of ISO 639; empty: what is known of the data.
        data_license: of the training data, by the card of a Hub data set.
        others: seed -> metrics of runs that differ in nothing else.
    """

    recipe: Recipe
    metrics: dict[str, Any]
    has_code: bool
    labels: Sequence[str] = ()
    repo_id: str | None = None
    license: str | None = None
    languages: Sequence[str] = ()
    data_license: str | None = None
    others: dict[int, dict[str, Any]] = field(default_factory=dict)

    @property
    def source(self) -> str:
        """The data by a name that means something elsewhere."""
        source = self.recipe.data.source
        return source if source.startswith(PREFIX) or self.is_of_hub("data.source") else Path(source).name

    @property
    def checkpoint(self) -> str | None:
        """The model that was trained on, likewise; nothing for one from scratch."""
        name: str | None = getattr(self.recipe.model, "checkpoint", None)
        return name if name is None or self.is_of_hub("model.checkpoint") else Path(name).name

    def is_of_hub(self, setting: str) -> bool:
        """Whether the run has read what `setting` names from the Hub."""
        return setting in self.metrics.get("revisions", {})

    def commit(self, setting: str) -> str | None:
        """The commit that it has read."""
        return self.metrics.get("revisions", {}).get(setting, {}).get("commit")

    @property
    def known(self) -> Known | None:
        """What is known of the sample that was trained on."""
        source = self.recipe.data.source
        return SAMPLES.get(source.removeprefix(PREFIX)) if source.startswith(PREFIX) else None

    @property
    def all_languages(self) -> list[str]:
        return list(self.languages) or ([self.known.language] if self.known else [])

    @property
    def seeds(self) -> list[int]:
        return [self.recipe.train.seed, *self.others]

    def values(self, split: str, name: str) -> list[float]:
        """A figure of every seed that has it, this model's first."""
        runs = [self.metrics, *self.others.values()]
        return [run[split][name] for run in runs if name in run.get(split, {})]

    @property
    def scores(self) -> list[tuple[str, str]]:
        """Split and name of every single figure."""
        return [
            (split, name)
            for split in ("validation", "test")
            for name, value in self.metrics.get(split, {}).items()
            if isinstance(value, float)
        ]


def spread(values: Sequence[float]) -> float:
    """Standard deviation over the seeds (of a sample); 0 for one."""
    return statistics.stdev(values) if len(values) > 1 else 0.0


def interval(share: float, count: int) -> tuple[float, float]:
    """95 % confidence interval of a share that was found in `count` rows (Wilson 1927)."""
    z = statistics.NormalDist().inv_cdf(0.975)
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    reach = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return max(0.0, middle - reach), min(1.0, middle + reach)
