"""The data of a model card: a recipe, the metrics of its run, and what is known about the training data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pipeline.config import paths
from pipeline.config.recipe import Recipe
from pipeline.config.samples import LANGUAGES, PREFIX
from pipeline.config.task_specs import TASKS, TaskSpec
from pipeline.metrics.scores import flatten


class SampleInfo(NamedTuple):
    """A packaged sample: its languages by ISO 639, and the licence that its authors state."""

    languages: tuple[str, ...]
    license: str


SAMPLE_INFO = {
    "rotten_tomatoes": SampleInfo(("en",), "unknown"),
    "imdb": SampleInfo(("en",), "unknown"),
    "imdb_text": SampleInfo(("en",), "unknown"),
    "twitter_ner": SampleInfo(("en",), "unknown"),
    "hebrew_ner": SampleInfo(("he",), "not for commercial use"),
    **{f"plone_{name}": SampleInfo(("en", name.partition("_")[0]), "gpl-2.0") for name in LANGUAGES},
}


@dataclass(frozen=True)
class CardData:
    """What a model card is made from.

    Attributes:
        metrics: metrics.json of the run.
        has_code: whether modeling files come with the weights.
        labels: names of the classes.
        repo_id: repository that the card is for; None: a local folder.
        license: of the model, by its id on the Hub.
        languages: codes of ISO 639; empty: those of a packaged sample.
        data_license: of the training data, from the card of a Hub dataset.
        other_seeds: seed -> metrics of runs that differ only in the seed.
        has_word_pieces: whether the tokenizer marks the pieces of a word after its first.
        has_onnx: whether the repository has an export of the model in onnx/.
    """

    recipe: Recipe
    metrics: dict[str, Any]
    has_code: bool
    labels: Sequence[str] = ()
    repo_id: str | None = None
    license: str | None = None
    languages: Sequence[str] = ()
    data_license: str | None = None
    other_seeds: dict[int, dict[str, Any]] = field(default_factory=dict)
    has_word_pieces: bool = False
    has_onnx: bool = False

    @property
    def source(self) -> str:
        """The training data: Hub id, sample:NAME, or the name of a file without its folders."""
        source = self.recipe.data.source
        return source if source.startswith(PREFIX) or self.is_on_hub("data.source") else paths.last_part(source)

    @property
    def checkpoint(self) -> str | None:
        """The pretrained model, named in the same way; None: trained from scratch."""
        name: str | None = getattr(self.recipe.model, "checkpoint", None)
        return name if name is None or self.is_on_hub("model.checkpoint") else paths.last_part(name)

    @property
    def teacher(self) -> str | None:
        """The teacher that it has learned from, named in the same way; None: only from the data."""
        name: str | None = self.metrics.get("distil", {}).get("teacher")
        return name if name is None or self.is_on_hub("distil.teacher") else paths.last_part(name)

    def is_on_hub(self, setting: str) -> bool:
        """Whether the run has read from the Hub what `setting` names."""
        return setting in self.metrics.get("revisions", {})

    def commit(self, setting: str) -> str | None:
        """The commit of it that the run has read."""
        return self.metrics.get("revisions", {}).get(setting, {}).get("commit")

    @property
    def sample_info(self) -> SampleInfo | None:
        """What is known about the packaged sample that the model was trained on, if it was one."""
        source = self.recipe.data.source
        return SAMPLE_INFO.get(source.removeprefix(PREFIX)) if source.startswith(PREFIX) else None

    @property
    def all_languages(self) -> list[str]:
        return list(self.languages) or list(self.sample_info.languages if self.sample_info else ())

    @property
    def spec(self) -> TaskSpec | None:
        """What is known about the task, for answers of the model's type; None for a task of your own."""
        spec = TASKS.get(self.recipe.task)
        return spec and spec.of(self.metrics.get("data", {}).get("problem_type"), self.reads_pairs)

    @property
    def reads_pairs(self) -> bool:
        """Whether the model reads pairs of texts."""
        return bool(self.metrics.get("data", {}).get("pairs"))

    @property
    def seeds(self) -> list[int]:
        """Seed of this run, then of the others."""
        return [self.recipe.train.seed, *self.other_seeds]

    def scores_over_seeds(self, split: str, metric: str) -> list[float]:
        """The score of each run that has it, this model's first."""
        runs = (flatten(run.get(split, {})) for run in (self.metrics, *self.other_seeds.values()))
        return [scores[metric] for scores in runs if metric in scores]

    @property
    def score_names(self) -> list[tuple[str, str]]:
        """(split, metric) of every score of all rows, and of the one that selected the weights."""
        return [
            (split, metric)
            for split in ("validation", "test")
            for metric in flatten(self.metrics.get(split, {}))
            if "." not in metric or metric == self.monitor
        ]

    @property
    def monitor(self) -> str | None:
        """The score that selected the weights, if the run says."""
        return self.metrics.get("train", {}).get("monitor")
