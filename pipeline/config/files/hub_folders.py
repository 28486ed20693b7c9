"""What `Dataset.save_to_disk` and data repositories of the Hub say about their files: state.json, README.md."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.config.data import Data
from pipeline.config.files.split_names import in_order, split_in
from pipeline.errors import UserError, listing, reason, suggest

STATE, DICT, CARD, INFO = "state.json", "dataset_dict.json", "README.md", "dataset_info.json"


def saved_splits(folder: Path) -> dict[str, list[Path]] | None:
    """Name of a split -> its Arrow files, in a folder that `save_to_disk` wrote; None: it did not.

    Raises:
        UserError: a file is missing, or only some of the rows were selected when it was saved.
    """
    if (folder / DICT).is_file():
        names = _json(folder / DICT).get("splits", [])
        return {name: saved_files(folder / name) for name in names}
    return {"train": saved_files(folder)} if (folder / STATE).is_file() else None


def saved_files(folder: Path) -> list[Path]:
    """The Arrow files of one `Dataset`, in order.

    Raises:
        UserError: as for `saved_splits`.
    """
    if not (folder / STATE).is_file():
        raise UserError(f"{folder}: there is no {STATE} in it; save the dataset again")
    state = _json(folder / STATE)
    if state.get("_indices_data_files") or state.get("_indices_files"):
        raise UserError(
            f"{folder}: an old version of datasets saved it with a selection of rows apart; open it with"
            " load_from_disk, and save it again with the version of today"
        )
    files = [folder / entry["filename"] for entry in state.get("_data_files") or ()]
    missing = [file.name for file in files if not file.is_file()]
    if missing or not files:
        raise UserError(f"{folder}: {listing(missing) or 'its Arrow file'} is missing; save the dataset again")
    return files


def info_beside(file: Path) -> list[Path]:
    """What `datasets` says about the columns of an Arrow file, if it is next to the file."""
    info = file.with_name(INFO)
    return [info] if info.is_file() else []


def _json(file: Path) -> dict[str, Any]:
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise UserError(f"{file}: not JSON: {reason(error)}") from error
    if not isinstance(value, dict):
        raise UserError(f"{file}: expected an object")
    return value


class Configured(NamedTuple):
    """What README.md says about the files of a data repository.

    Attributes:
        root: folder of the configuration.
        files: name of a split -> its files; empty if they are found by the names of the files in `root`.
    """

    root: Path
    files: dict[str, list[Path]]


def has_configurations(folder: Path) -> bool:
    """Whether README.md names configurations."""
    return bool(_configurations(folder))


def _configurations(folder: Path) -> list[dict[str, Any]]:
    """Those that name files."""
    configs = [config for config in _card(folder / CARD).get("configs") or () if isinstance(config, dict)]
    return [config for config in configs if config.get("data_files") or config.get("data_dir")]


def configured(folder: Path, data: Data) -> Configured | None:
    """The configuration in README.md that data.subset names, or the default; None: there is none that names files.

    Raises:
        UserError: data.subset is needed or names none of them, or a file is missing.
    """
    named = {str(config.get("config_name", "default")): config for config in _configurations(folder)}
    if not named:
        return None
    config = named[_name_of_config(folder, data, named)]
    root = folder / str(config.get("data_dir") or ".")
    if not root.is_dir():
        raise UserError(f"{folder / CARD}: there is no folder {root}; fetch the repository again")
    return Configured(root, _found(folder, _patterns(config.get("data_files") or {}), root))


def class_names(folder: Path, subset: str | None) -> dict[str, list[str]]:
    """Column -> names of its classes, from the features of the data set in README.md; empty if it has none."""
    noted = _card(folder / CARD).get("dataset_info")
    infos = [info for info in (noted if isinstance(noted, list) else [noted]) if isinstance(info, dict)]
    chosen = [info for info in infos if subset is None or info.get("config_name", subset) == subset]
    columns = chosen[0].get("features") if chosen else None
    found = {}
    for column in columns if isinstance(columns, list) else ():
        if isinstance(column, dict) and (names := _names_in(column)):
            found[str(column.get("name"))] = names
    return found


def _names_in(kind: Any) -> list[str] | None:
    """The names in `{dtype: {class_label: {names: {"0": neg, ...}}}}`, or in a sequence or list of it."""
    while isinstance(kind, dict) and "class_label" not in kind:
        kind = kind.get("dtype") or kind.get("sequence") or kind.get("list")
    names = (
        kind["class_label"].get("names") if isinstance(kind, dict) and isinstance(kind["class_label"], dict) else None
    )
    if isinstance(names, dict):
        ids = [str(number) for number in range(len(names))]
        by_id = {str(number): name for number, name in names.items()}
        names = [by_id[number] for number in ids] if by_id.keys() == {*ids} else None
    return [str(name) for name in names] if isinstance(names, list) else None


def _name_of_config(folder: Path, data: Data, configs: Mapping[str, Any]) -> str:
    if data.subset:
        if data.subset not in configs:
            data.refuse("subset", f"{folder / CARD} has no configuration {data.subset}{suggest(data.subset, configs)}")
        return data.subset
    default = [name for name, config in configs.items() if config.get("default") or name == "default"]
    if default or len(configs) == 1:
        return [*default, *configs][0]
    raise UserError(f"{folder}: it has the configurations {listing([*configs])}; set data.subset to one")


def _patterns(files: Any) -> dict[str, Any]:
    """Split -> pattern or patterns; those without a split are under the empty name."""
    if isinstance(files, dict):
        return files
    entries = files if isinstance(files, list) else [files]
    found: dict[str, list[Any]] = {}
    for entry in entries:
        split, path = (entry.get("split", ""), entry.get("path")) if isinstance(entry, dict) else ("", entry)
        found.setdefault(str(split), []).extend(path if isinstance(path, list) else [path])
    return found


def _found(folder: Path, patterns: Mapping[str, Any], root: Path) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for split, given in patterns.items():
        for pattern in given if isinstance(given, list) else [given]:
            files = _matching(root, str(pattern))
            if not files:
                raise UserError(f"{folder / CARD}: no file matches {pattern}; fetch the repository again")
            for file in files:
                found.setdefault(split or split_in(file.name) or split_in(file.parent.name) or "train", []).append(file)
    return found


def _matching(root: Path, pattern: str) -> list[Path]:
    """Files in `root`; patterns such as data/train-*, or a path."""
    pattern = re.sub(r"^\./|^/", "", pattern)
    files = [file for file in root.glob(pattern or "*") if file.is_file() and not file.name.startswith(".")]
    return sorted(files, key=lambda file: in_order(str(file)))


def _card(file: Path) -> dict[str, Any]:
    """The YAML at the beginning of a README, empty if there is none."""
    try:
        text = file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
    except OSError:
        return {}
    block = re.match(r"---\r?\n(.*?)\r?\n---", text, re.DOTALL)
    if not block or not re.search(r"^(configs|dataset_info):", block[1], re.MULTILINE):
        return {}
    import yaml

    try:
        card = yaml.safe_load(block[1])
    except yaml.YAMLError as error:
        raise UserError(f"{file}: its YAML cannot be read: {reason(error)}") from error
    return card if isinstance(card, dict) else {}
