"""What must not leave: tokens, the user, the machine and its paths, in whatever file that is pushed."""

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

from pipeline.config import recipe
from pipeline.errors import UserError
from pipeline.models.recurrent import configuration_recurrent
from pipeline.publish import card, snippets

# Kinds of secret by their looks.
TOKENS = {
    "a token of the Hub": r"\b(?:hf|api_org)_[A-Za-z0-9]{20,}",
    "a token of GitHub": r"\bgh[pousr]_[A-Za-z0-9]{30,}|\bgithub_pat_\w{30,}",
    "a key of AWS": r"\bA[KS]IA[A-Z0-9]{16}\b",
    "a key of an API": r"\bsk-[A-Za-z0-9_-]{32,}",
    "a private key": r"-----BEGIN [A-Z ]*PRIVATE KEY-----",
    "a password in an address": r"\w+://[^\s/:@\"']+:[^\s/@\"']+@",
}
# Names that say nothing of anybody.
GENERIC = {
    *("root", "user", "users", "admin", "ubuntu", "debian", "runner", "jovyan", "nobody", "docker", "app", "build"),
    *("localhost", "localdomain", "host", "node", "server"),
}
SHORTEST_NAME = 3
# A server of one's own may take any word or number for a token, such as one that a card is full of.
SHORTEST_TOKEN, SHORTEST_WORD = 6, 12
# Tops of the trees that people and machines keep their files in; a first folder that is here counts as well.
TOPS = ("home", "Users", "root", "tmp", "var", "mnt", "media", "data", "scratch", "work", "srv", "opt", "usr", "etc")
WINDOWS = r"[A-Za-z]:\\\\?(?:Users|Documents)\b"
# Their texts are words of the training data, among which anything may be.
VOCABULARIES = {"tokenizer.json", "vocab.json", "vocab.txt", "merges.txt", "vocab.bpe"}


def scan(folder: Path, owner: str | None) -> None:
    """Refuse what a file in `folder` gives away.

    Args:
        owner: the namespace on the Hub that the files go to, which may be named.

    Raises:
        UserError: with file, line and kind of what was found, never the thing itself.
    """
    strict, loose = _patterns(owner)
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        patterns = loose if file.name in VOCABULARIES or file.suffix == ".py" else strict
        for number, line in _lines(file):
            for kind, pattern in patterns.items():
                if pattern.search(line):
                    raise UserError(
                        f"{file.name}:{number}: it holds {kind}, and what is pushed can be read by others; remove it"
                        " there, or in the settings of the run, and push again"
                    )


def _patterns(owner: str | None) -> tuple[dict[str, re.Pattern[str]], dict[str, re.Pattern[str]]]:
    """Kind -> what it looks like: in files that people read, and in code and vocabularies."""
    loose = {kind: re.compile(pattern) for kind, pattern in TOKENS.items()}
    token = get_token() or ""
    if len(token) >= SHORTEST_TOKEN and not (token.isalpha() and len(token) < SHORTEST_WORD):
        loose["your token"] = re.compile(rf"(?<![A-Za-z0-9]){re.escape(token)}(?![A-Za-z0-9])")
    here = {str(path) for path in (Path.home(), Path.cwd(), Path(tempfile.gettempdir())) if len(path.parts) > 2}
    if here:
        loose["the path of a folder of this machine"] = re.compile("|".join(map(re.escape, sorted(here))))
    common = GENERIC | _own_words()
    strict = {**loose, "an absolute path": re.compile(_absolute_path())}
    for kind, names in (("the user's name", _users()), ("the name of this machine", _machines())):
        told = {name for name in names if len(name) >= SHORTEST_NAME and name.lower() not in common and name != owner}
        if told:
            words = "|".join(re.escape(name) for name in sorted(told))
            strict[kind] = re.compile(rf"(?<![A-Za-z0-9])(?:{words})(?![A-Za-z0-9])", re.IGNORECASE)
    return strict, loose


def _own_words() -> set[str]:
    """Words that our settings and our cards are written in: somebody called max would push nothing else."""
    sources = "".join(inspect.getsource(module) for module in (recipe, card, snippets, configuration_recurrent))
    return set(re.findall(r"[a-z]+", sources.lower()))


def _absolute_path() -> str:
    """A slash that follows no word or address, a first folder as machines have it, and something in it."""
    tops = {*TOPS, *(path.name for path in Path("/").iterdir() if path.is_dir() and not path.name.startswith("."))}
    names = "|".join(re.escape(top) for top in sorted(tops))
    return rf"(?<![\w.:/<>~*-])/(?:{names})/[^\s/\"'`)]|\bfile:///|(?<!\w)~/\w|{WINDOWS}"


def _users() -> Iterator[str]:
    yield Path.home().name
    with contextlib.suppress(OSError, KeyError):  # an account without a name
        yield getpass.getuser()
    with contextlib.suppress(ImportError, KeyError):  # what the system says, whatever the environment does
        import pwd

        yield pwd.getpwuid(os.getuid()).pw_name


def _machines() -> Iterable[str]:
    name = socket.gethostname()
    return {name, name.split(".")[0]}


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines of a text; of weights the line that tells of them."""
    if file.suffix == ".safetensors":
        with contextlib.suppress(SafetensorError), safe_open(file, "pt") as weights:  # damage is the check's matter
            yield 1, json.dumps(weights.metadata() or {})
        return
    with file.open(encoding="utf-8", errors="replace") as stream:
        for number, line in enumerate(stream, start=1):
            yield number, line.replace("\\/", "/")
