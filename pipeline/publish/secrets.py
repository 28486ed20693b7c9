"""Refuse to push tokens, the name of the user, and the name and paths of the machine, in any file."""

from __future__ import annotations

import contextlib
import getpass
import inspect
import json
import os
import re
import socket
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from huggingface_hub import get_token
from safetensors import SafetensorError, safe_open

from pipeline.config import data, hub, models, recipe, task_specs, training
from pipeline.errors import UserError
from pipeline.models.recurrent import configuration_recurrent
from pipeline.publish import card, snippets

# Kind of secret -> pattern.
TOKENS = {
    "a Hub token": r"\b(?:hf|api_org)_[A-Za-z0-9]{20,}",
    "a GitHub token": r"\bgh[pousr]_[A-Za-z0-9]{30,}|\bgithub_pat_\w{30,}",
    "an AWS key": r"\bA[KS]IA[A-Z0-9]{16}\b",
    "an API key": r"\bsk-[A-Za-z0-9_-]{32,}",
    "a private key": r"-----BEGIN [A-Z ]*PRIVATE KEY-----",
    "a password in a URL": r"\w+://[^\s/:@\"']+:[^\s/@\"']+@",
}
# User and host names that identify nobody.
GENERIC = {
    *("root", "user", "users", "admin", "ubuntu", "debian", "runner", "jovyan", "nobody", "docker", "app", "build"),
    *("localhost", "localdomain", "host", "node", "server"),
}
SHORTEST_NAME = 3
# A private server may accept any token, even a word or number that every card contains: these are not searched for.
SHORTEST_TOKEN, SHORTEST_WORD = 6, 12
# First folders of absolute paths, in addition to those on this machine.
TOPS = ("home", "Users", "root", "tmp", "var", "mnt", "media", "data", "scratch", "work", "srv", "opt", "usr", "etc")
WINDOWS = r"[A-Za-z]:\\\\?(?:Users|Documents)\b"
# These contain words of the training data, in which names and paths may occur by chance.
VOCABULARY_FILES = {
    *("tokenizer.json", "source_tokenizer.json", "export.json"),
    *("vocab.json", "vocab.txt", "merges.txt", "vocab.bpe"),
}


def refuse_secrets(folder: Path, owner: str | None) -> None:
    """Search every file in `folder` for secrets, and refuse the first.

    Args:
        owner: the namespace on the Hub that the files go to, which is no secret.

    Raises:
        UserError: a file contains one; the message gives file, line and kind, but not the secret itself.
    """
    strict, loose = _patterns(owner)
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        patterns = loose if file.name in VOCABULARY_FILES or file.suffix in (".py", ".onnx") else strict
        for number, line in _lines(file):
            for kind, pattern in patterns.items():
                if pattern.search(line):
                    raise UserError(
                        f"{file.name}:{number}: it contains {kind}, which others could read once pushed; remove it"
                        " from the file or from the recipe, and push again"
                    )


def _patterns(owner: str | None) -> tuple[dict[str, re.Pattern[str]], dict[str, re.Pattern[str]]]:
    """Kind -> pattern: strict ones for text files, and loose ones for code and vocabularies."""
    loose = {kind: re.compile(pattern) for kind, pattern in TOKENS.items()}
    token = get_token() or ""
    if len(token) >= SHORTEST_TOKEN and not (token.isalpha() and len(token) < SHORTEST_WORD):
        loose["your token"] = re.compile(rf"(?<![A-Za-z0-9]){re.escape(token)}(?![A-Za-z0-9])")
    here = {str(path) for path in (Path.home(), Path.cwd(), Path(tempfile.gettempdir())) if len(path.parts) > 2}
    if here:
        loose["a path on this machine"] = re.compile("|".join(map(re.escape, sorted(here))))
    ignored = GENERIC | _words_of_this_package()
    strict = {**loose, "an absolute path": re.compile(_absolute_path())}
    for kind, names in (("the user's name", _user_names()), ("the name of this machine", _host_names())):
        known = {name for name in names if len(name) >= SHORTEST_NAME and name.lower() not in ignored and name != owner}
        if known:
            either = "|".join(re.escape(name) for name in sorted(known))
            strict[kind] = re.compile(rf"(?<![A-Za-z0-9])(?:{either})(?![A-Za-z0-9])", re.IGNORECASE)
    return strict, loose


def _words_of_this_package() -> set[str]:
    """The words in our settings and cards: otherwise a user called max could not push a model with `"pooling":
    "max"`."""
    settings = (data, hub, models, recipe, task_specs, training, configuration_recurrent)
    sources = "".join(inspect.getsource(module) for module in (*settings, card, snippets))
    return set(re.findall(r"[a-z]+", sources.lower()))


def _absolute_path() -> str:
    """Pattern of an absolute path: a slash that does not continue a word or address, a first folder, and more."""
    tops = {*TOPS, *(path.name for path in Path("/").iterdir() if path.is_dir() and not path.name.startswith("."))}
    names = "|".join(re.escape(top) for top in sorted(tops))
    return rf"(?<![\w.:/<>~*-])/(?:{names})/[^\s/\"'`)]|\bfile:///|(?<!\w)~/\w|{WINDOWS}"


def _user_names() -> Iterator[str]:
    yield Path.home().name
    with contextlib.suppress(OSError, KeyError):  # the account has no name
        yield getpass.getuser()
    with contextlib.suppress(ImportError, KeyError):  # getpass believes the environment, pwd does not
        import pwd

        yield pwd.getpwuid(os.getuid()).pw_name


def _host_names() -> Iterable[str]:
    name = socket.gethostname()
    return {name, name.split(".")[0]}


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    """The numbered lines of a text file; for weights, their metadata as one line, and for a graph, all but its
    weights."""
    if file.suffix == ".onnx":
        yield 1, _graph(file)
        return
    if file.name.endswith(".onnx.data"):  # weights alone
        return
    if file.suffix == ".safetensors":
        with (
            contextlib.suppress(SafetensorError),
            safe_open(file, "pt") as weights,
        ):  # damaged weights are refused by `verify`
            yield 1, json.dumps(weights.metadata() or {})
        return
    with file.open(encoding="utf-8", errors="replace") as stream:
        for number, line in enumerate(stream, start=1):
            yield number, line.replace("\\/", "/")


def _graph(file: Path) -> str:
    """An ONNX graph as text, without its weights."""
    import onnx  # which a push without an export does not need

    model = onnx.load(file, load_external_data=False)
    for weight in model.graph.initializer:
        weight.ClearField("raw_data")
    return str(model)
