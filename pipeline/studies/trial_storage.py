"""Where Optuna keeps the trials of a search: created, found again, and refused if they are those of another search."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pipeline import locks, run_folder
from pipeline.config.recipe import Recipe
from pipeline.errors import UserError, reason
from pipeline.studies.space import Space

if TYPE_CHECKING:
    import optuna

Sampler = Literal["tpe", "random"]
Pruner = Literal["median", "asha", "none"]
DATABASE = "search.db"
# Attributes of the study: what is searched, and where.
SETTINGS, SPACE, FOLDER = "settings", "space", "folder"
# Free for a run, because its checkpoint keeps the number of rows in an update; but here each trial begins anew.
_BATCH = {"train.batch_size", "train.accumulation", "train.auto_batch"}


@dataclass(frozen=True)
class Plan:
    """A search.

    Attributes:
        recipe: what every trial changes; its budget is that of every trial.
        space: what it changes, and to what.
        trials: their number in the end, of all commands that work on this search together.
        folder: folder of the search.
        journal: file of Optuna's journal; None: a database in `folder`.
        seed: of the sampler.
    """

    recipe: Recipe
    space: Space
    trials: int
    folder: Path
    journal: Path | None = None
    sampler: Sampler = "tpe"
    pruner: Pruner = "median"
    seed: int = 0


def open_study(plan: Plan, pruner: optuna.pruners.BasePruner) -> optuna.Study:
    """The trials of `plan`, old ones included.

    Raises:
        UserError: the folder or the journal is that of another search, or the journal or database cannot be read.
    """
    import optuna

    _refuse_other_storage(plan)
    try:
        study = optuna.create_study(
            storage=_storage(plan),
            study_name=plan.recipe.name,
            direction="maximize",
            pruner=pruner,
            load_if_exists=True,
        )
    except Exception as error:  # each storage raises others for a file that is not its own
        raise UserError(f"{_file(plan)}: not the trials of a search: {reason(error)}; name another file") from error
    _refuse_other_search(plan, study)
    return study


def _file(plan: Plan) -> Path:
    return plan.journal or plan.folder / DATABASE


def _refuse_other_storage(plan: Plan) -> None:
    database = plan.folder / DATABASE
    if plan.journal and database.exists():
        raise UserError(f"--journal: {plan.folder} keeps its trials in {database}; leave out --journal")
    if not plan.journal and not database.exists() and any(plan.folder.glob("trial-*/")):
        raise UserError(f"{plan.folder}: its trials are in a journal; name that with --journal, or another --folder")


def _refuse_other_search(plan: Plan, study: optuna.Study) -> None:
    settings = _settings(plan.recipe)
    space = {name: str(drawn) for name, drawn in plan.space.items()}
    found = study.user_attrs
    if SETTINGS not in found:
        study.set_user_attr(FOLDER, str(plan.folder.resolve()))
        study.set_user_attr(SPACE, space)
        study.set_user_attr(SETTINGS, settings)  # last: what a killed command has not finished is done again
        return
    changed = run_folder.changes(settings, found[SETTINGS])
    changed += [f"space: {change}" for change in run_folder.changes(space, found[SPACE], "not drawn")]
    if changed:
        other = "--folder and --journal" if plan.journal else "--folder"
        raise UserError(f"{_file(plan)}: it holds another search ({'; '.join(changed)}); choose another {other}")
    # Two commands would not see each other's locks, and run every trial twice.
    if plan.journal and Path(found[FOLDER]).is_dir() and not plan.folder.samefile(found[FOLDER]):
        raise UserError(f"--journal: {plan.journal} holds the trials of {found[FOLDER]}; add --folder {found[FOLDER]}")


def _settings(recipe: Recipe) -> dict[str, Any]:
    """The settings of `recipe` that make a search another one."""
    return {
        name: value
        for name, value in run_folder.settings_of(recipe).items()
        if name in _BATCH or not run_folder.is_free(name)
    }


def _storage(plan: Plan) -> str | optuna.storages.BaseStorage:
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock, JournalStorage

    if plan.journal is None:
        return f"sqlite:///{plan.folder / DATABASE}"
    file = plan.journal.with_name(f"{plan.journal.name}.lock")

    class Lock(JournalFileOpenLock):
        """Free as soon as its holder has ended, however it did; Optuna's own are waited for and then broken."""

        def acquire(self) -> bool:
            self.descriptor = locks.wait_for(file)
            return True

        def release(self) -> None:
            locks.release(self.descriptor)

    return JournalStorage(JournalFileBackend(str(plan.journal), Lock(str(plan.journal))))
