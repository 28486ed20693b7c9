"""The settings that name something outside a recipe: files on this machine, or repositories on the Hub.

A new setting of this kind is a row in `REFERENCES`. Three modules read the table: `hub.pinning` resolves revisions to
commits, `fetch` copies files, and `publish.redact` cuts paths to their last part.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.config import hub, paths
from pipeline.config.data import TRAINED_TOKENIZERS, Data
from pipeline.config.samples import is_sample
from pipeline.config.sources import ResolvedSource

if TYPE_CHECKING:
    from pipeline.config.recipe import Recipe


@dataclass(frozen=True)
class HubRepo:
    """How a setting names a repository on the Hub.

    Attributes:
        revision: the setting of the same section that gives the branch, tag or commit.
        repo_type: `model` or `dataset`.
        is_named_by: whether the setting of this section names a repository rather than files on this machine, given
            what data.source was resolved to. It raises a UserError if it names neither.
    """

    revision: str
    repo_type: str
    is_named_by: Callable[[Any, ResolvedSource], bool]


@dataclass(frozen=True)
class Reference:
    """The setting `section.name`, which may name a file or folder and, unless `hub` is None, a repository."""

    section: str
    name: str
    hub: HubRepo | None = None
    keywords: Container[str] = ()  # values that are not names, such as `word` for data.tokenizer

    @property
    def setting(self) -> str:
        return f"{self.section}.{self.name}"

    def value(self, recipe: Recipe) -> str | None:
        """The path or Hub id in `recipe`; None: not set, a keyword, or a sample, which comes with a package."""
        value = getattr(getattr(recipe, self.section), self.name, None)  # not every kind of model has every setting
        return None if value is None or value in self.keywords or is_sample(value) else str(value)

    def on_hub(self, recipe: Recipe, source: ResolvedSource) -> HubRepo | None:
        """How `recipe`, whose data is `source`, names a repository here; None: it names none.

        Raises:
            UserError: there is no such file or folder, and the value cannot be a Hub id.
        """
        if self.hub is None or self.value(recipe) is None:
            return None
        return self.hub if self.hub.is_named_by(getattr(recipe, self.section), source) else None


def _is_hub_data(data: Data, source: ResolvedSource) -> bool:
    return source.kind == "hub"


def _is_hub_tokenizer(data: Data, source: ResolvedSource) -> bool:
    return paths.saved_tokenizer(str(data.tokenizer), "data.tokenizer") is None


def _is_hub_checkpoint(model: Any, source: ResolvedSource) -> bool:
    return paths.saved(model.checkpoint, "model.checkpoint") is None


REFERENCES = (
    Reference("data", "source", HubRepo("revision", "dataset", _is_hub_data)),
    Reference(
        "data", "tokenizer", HubRepo("tokenizer_revision", "model", _is_hub_tokenizer), keywords=TRAINED_TOKENIZERS
    ),
    Reference("model", "checkpoint", HubRepo("revision", "model", _is_hub_checkpoint)),
    Reference("model", "vectors"),
)


def check_trust(recipe: Recipe) -> None:
    """Refuse to run the code of a checkpoint on the Hub at a revision that can change.

    A recipe alone cannot tell, as a folder and a repository may have the same name. So a recipe that is only read, such
    as that of a saved model, is not checked.

    Raises:
        UserError: model.trust_remote_code is set for a Hub id without a commit, or for a folder that does not exist.
    """
    model: Any = recipe.model
    if getattr(model, "trust_remote_code", False) and paths.saved(model.checkpoint, "model.checkpoint") is None:
        hub.check_trust(model.checkpoint, model.revision, True, "model.trust_remote_code")


def local_names(recipe: Recipe, revisions: Container[str]) -> dict[Reference, str]:
    """What `recipe` names on this machine; `revisions` holds the settings that a run has read from the Hub."""
    named = {reference: reference.value(recipe) for reference in REFERENCES if reference.setting not in revisions}
    return {reference: name for reference, name in named.items() if name is not None}
