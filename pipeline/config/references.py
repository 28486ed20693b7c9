"""The settings that name something outside a recipe: files on this machine, or repositories on the Hub.

A new setting of this kind is a row in `REFERENCES`. Three modules read the table: `hub.pinning` resolves revisions to
commits, `fetch` copies files, and `publish.redact` cuts paths to their last part.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pipeline.config import hub, paths
from pipeline.config.data import TRAINED_TOKENIZERS, Data
from pipeline.config.samples import is_sample
from pipeline.config.sources import ResolvedSource, resolve

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
    """The setting `section.name`, which may name a file or folder and, unless `hub` is None, a repository.

    Attributes:
        section: of the recipe, or within one: `distil.unlabelled`, `distil.unlabelled.0` for the first of several.
    """

    section: str
    name: str
    hub: HubRepo | None = None
    keywords: Container[str] = ()  # values that are not names, such as `word` for data.tokenizer

    @property
    def setting(self) -> str:
        return f"{self.section}.{self.name}"

    def section_in(self, recipe: Recipe) -> Any:
        """The section in `recipe`; None if it has none."""
        return _within(recipe, self.section.split("."))

    def with_values(self, recipe: Recipe, **values: str | None) -> Recipe:
        """`recipe` with other values of settings in the section."""
        return _replaced(recipe, self.section.split("."), values)

    def put(self, values: dict[str, Any], value: str) -> None:
        """Change the setting in a recipe as JSON."""
        part: Any = values
        for key in self.section.split("."):
            part = part[int(key) if isinstance(part, list) else key]
        part[self.name] = value

    def value(self, recipe: Recipe) -> str | None:
        """The path or Hub id in `recipe`; None: not set, a keyword, or a sample, which comes with a package."""
        value = getattr(self.section_in(recipe), self.name, None)  # not every kind of model has every setting
        return None if value is None or value in self.keywords or is_sample(value) else str(value)

    def on_hub(self, recipe: Recipe, source: ResolvedSource) -> HubRepo | None:
        """How `recipe`, whose data is `source`, names a repository here; None: it names none.

        Raises:
            UserError: there is no such file or folder, and the value cannot be a Hub id.
        """
        if self.hub is None or self.value(recipe) is None:
            return None
        return self.hub if self.hub.is_named_by(self.section_in(recipe), source) else None


def _within(value: Any, path: list[str]) -> Any:
    for key in path:
        value = value[int(key)] if isinstance(value, tuple) else getattr(value, key)
    return value


def _replaced(value: Any, path: list[str], values: dict[str, Any]) -> Any:
    if not path:
        return replace(value, **values)
    key, *rest = path
    if isinstance(value, tuple):
        return tuple(_replaced(part, rest, values) if at == int(key) else part for at, part in enumerate(value))
    return replace(value, **{key: _replaced(getattr(value, key), rest, values)})


def _is_hub_data(data: Data, source: ResolvedSource) -> bool:
    return source.kind == "hub"


def _is_hub_tokenizer(data: Data, source: ResolvedSource) -> bool:
    return paths.saved_tokenizer(str(data.tokenizer), "data.tokenizer") is None


def _is_hub_checkpoint(model: Any, source: ResolvedSource) -> bool:
    return paths.saved(model.checkpoint, "model.checkpoint") is None


def _is_hub_teacher(distil: Any, source: ResolvedSource) -> bool:
    return not is_recipe(distil.teacher) and paths.saved_model(distil.teacher, "distil.teacher", adapters=True) is None


def _is_hub_text(data: Data, source: ResolvedSource) -> bool:
    return resolve(data).kind == "hub"


def is_recipe(name: str) -> bool:
    """Whether `name` can only be the file of a recipe."""
    return name.endswith((".py", ".json"))


REFERENCES = (
    Reference("data", "source", HubRepo("revision", "dataset", _is_hub_data)),
    Reference(
        "data", "tokenizer", HubRepo("tokenizer_revision", "model", _is_hub_tokenizer), keywords=TRAINED_TOKENIZERS
    ),
    Reference("model", "checkpoint", HubRepo("revision", "model", _is_hub_checkpoint)),
    Reference("model", "vectors"),
    Reference("distil", "teacher", HubRepo("revision", "model", _is_hub_teacher)),
)


def references_in(recipe: Recipe) -> tuple[Reference, ...]:
    """The rows of `REFERENCES`, and one for each source of unlabelled texts."""
    given = recipe.distil.unlabelled if recipe.distil else None
    places = [f".{number}" for number in range(len(given))] if isinstance(given, tuple) else [""] if given else []
    texts = HubRepo("revision", "dataset", _is_hub_text)
    return (*REFERENCES, *(Reference(f"distil.unlabelled{place}", "source", texts) for place in places))


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
    teacher = recipe.distil
    if teacher is not None and teacher.trust_remote_code and not is_recipe(teacher.teacher):
        hub.check_trust(teacher.teacher, teacher.revision, True, "distil.trust_remote_code")


def local_names(recipe: Recipe, revisions: Container[str]) -> dict[Reference, str]:
    """What `recipe` names on this machine; `revisions` holds the settings that a run has read from the Hub."""
    own = [reference for reference in references_in(recipe) if reference.setting not in revisions]
    return {reference: name for reference in own if (name := reference.value(recipe)) is not None}
