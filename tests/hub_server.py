"""A small Hub on loopback for the real clients: repositories, revisions, pull requests, LFS, and faults on demand.

It answers what huggingface_hub, transformers and datasets call, in the forms in which the Hub answers them.
"""

from __future__ import annotations

import asyncio
import atexit
import base64
import hashlib
import json
import os
import re
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

import uvicorn
import yaml
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

LARGE = re.compile(r".*\.(safetensors|bin|parquet|arrow|h5|onnx)")
REPO_NAME = re.compile(r"[\w.-]{1,96}")
LICENSES = {"apache-2.0", "mit", "cc-by-4.0", "cc-by-nc-4.0", "bsd-3-clause", "unknown", "other"}
REPO = r"(?P<repo>[^/]+/[^/]+)"
KIND = r"(?P<kind>models|datasets|spaces)"


@dataclass(frozen=True)
class Blob:
    """A file, stored in git or, if `lfs`, as an LFS object."""

    content: bytes
    lfs: bool

    @property
    def oid(self) -> str:
        """SHA-256 of an LFS object, else the hash of a git blob (SHA-1)."""
        if self.lfs:
            return hashlib.sha256(self.content).hexdigest()
        return hashlib.sha1(b"blob %d\0" % len(self.content) + self.content).hexdigest()


Tree = dict[str, Blob]


@dataclass
class Repo:
    """A repository: `commits` are whole trees; `heads` and `tags` point to them, as do `pulls`, the pull requests."""

    kind: str
    name: str
    private: bool
    commits: dict[str, Tree] = field(default_factory=dict)
    titles: dict[str, str] = field(default_factory=dict)
    heads: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    pulls: dict[str, str] = field(default_factory=dict)
    gated: bool = False

    def add(self, tree: Tree, title: str) -> str:
        seed = f"{self.kind}{self.name}{title}{len(self.commits)}{[(path, blob.oid) for path, blob in tree.items()]}"
        commit = hashlib.sha1(seed.encode()).hexdigest()
        self.commits[commit], self.titles[commit] = tree, title
        return commit

    def commit_of(self, revision: str) -> str | None:
        for table in (self.heads, self.tags, self.pulls):
            if revision in table:
                return table[revision]
        return revision if revision in self.commits else None

    @property
    def files(self) -> Tree:
        """The newest files of the main branch."""
        return self.commits[self.heads["main"]]


@dataclass(frozen=True)
class User:
    name: str
    organisations: tuple[str, ...] = ()
    role: str = "write"


@dataclass
class Fault:
    """A failure of the next `times` calls whose `METHOD path` matches `calls`."""

    calls: str
    status: int
    times: int = 1_000_000
    message: str = "out of order"
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0


class Refusal(Exception):
    """An error response, with the headers of the Hub."""

    def __init__(self, status: int, message: str, code: str | None = None):
        super().__init__(message)
        headers = {"X-Error-Message": message, **({"X-Error-Code": code} if code else {})}
        self.response = JSONResponse({"error": message}, status, headers)


class Hub:
    """The state of the server, and the dispatch of its requests."""

    def __init__(self) -> None:
        self.endpoint = "http://{}:{}".format(*LISTENER.getsockname())
        self.users = {
            "hf_of_alice": User("alice", ("acme",)),
            "hf_reader": User("alice", ("acme",), "read"),
            "hf_of_bob": User("bob"),
        }
        self.reset()

    def reset(self) -> None:
        self.repos: dict[tuple[str, str], Repo] = {}
        self.objects: dict[str, bytes] = {}
        self.faults: list[Fault] = []
        self.log: list[str] = []

    def start(self) -> None:
        paths = [Route("/{path:path}", self._answer, methods=["GET", "HEAD", "POST", "PUT", "DELETE"])]
        config = uvicorn.Config(Starlette(routes=paths), log_level="error", lifespan="off")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=lambda: asyncio.run(self._server.serve(sockets=[LISTENER])), daemon=True)
        self._thread.start()
        while not self._server.started:
            time.sleep(0.01)

    def stop(self) -> None:
        self._server.should_exit = self._server.force_exit = True
        self._thread.join()

    def put(self, kind: str, name: str, files: dict[str, bytes], private: bool = False, head: str = "main") -> str:
        """Commit `files` without a client; returns the commit."""
        repo = self.repos.setdefault((kind, name), Repo(kind, name, private))
        tree = {path: Blob(content, bool(LARGE.fullmatch(path))) for path, content in files.items()}
        old = repo.commits.get(repo.heads.get(head, ""), {})
        repo.heads[head] = repo.add({**old, **tree}, "by hand")
        return repo.heads[head]

    def calls(self, pattern: str) -> list[str]:
        """The calls so far, as `METHOD path`, that match `pattern`."""
        return [call for call in self.log if re.fullmatch(pattern, call)]

    async def _answer(self, request: Request) -> Response:
        path = request.scope["raw_path"].decode().split("?")[0]  # not decoded: the slash in a branch is quoted
        body = await request.body()
        call = f"{request.method} {unquote(path)}"
        self.log.append(call)
        for fault in self.faults:
            if fault.times and re.fullmatch(fault.calls, call):
                fault.times -= 1
                await asyncio.sleep(fault.seconds)
                if fault.status:
                    headers = {"X-Error-Message": fault.message, **fault.headers}
                    return JSONResponse({"error": fault.message}, fault.status, headers)
        for method, pattern, answer in ROUTES:
            found = re.fullmatch(pattern, path)
            if found and request.method in method.split():
                try:
                    names = {name: unquote(value) for name, value in found.groupdict().items() if value}
                    return answer(self, Call(self, request, body, names))
                except Refusal as refusal:
                    return refusal.response
        return JSONResponse({"error": "Not Found"}, 404)


@dataclass
class Call:
    """One request, with the names in its path."""

    hub: Hub
    request: Request
    body: bytes
    names: dict[str, str]

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def user(self) -> User | None:
        token = self.request.headers.get("authorization", "").removeprefix("Bearer ")
        if token and token not in self.hub.users:
            raise Refusal(401, "Invalid credentials in Authorization header")
        return self.hub.users.get(token)

    def may_write(self, namespace: str) -> bool:
        user = self.user
        return bool(user and user.role == "write" and namespace in (user.name, *user.organisations))

    def repo(self, write: bool = False) -> Repo:
        kind = self.names.get("kind") or "models"
        repo = self.hub.repos.get((kind, self.names["repo"]))
        user = self.user
        namespace = self.names["repo"].split("/")[0]
        member = bool(user and namespace in (user.name, *user.organisations))
        if repo is None or (repo.private and not member):
            raise Refusal(404 if user else 401, "Repository not found", "RepoNotFound")
        if write and not self.may_write(namespace):
            raise Refusal(403, "You don't have the rights to write to this repository" if user else "Log in first")
        if repo.gated and not member:
            raise Refusal(403, f"Access to model {repo.name} is restricted", "GatedRepo")
        return repo

    def commit(self, repo: Repo) -> str:
        commit = repo.commit_of(self.names.get("revision") or "main")
        if commit is None:
            raise Refusal(404, f"Invalid rev id: {self.names['revision']}", "RevisionNotFound")
        return commit

    @property
    def is_pull(self) -> bool:
        return self.request.query_params.get("create_pr") == "1"


def whoami(hub: Hub, call: Call) -> Response:
    user = call.user
    if user is None:
        raise Refusal(401, "Invalid username or password.")
    answer = {"type": "user", "name": user.name, "orgs": [{"name": name} for name in user.organisations]}
    return JSONResponse({**answer, "auth": {"accessToken": {"role": user.role}}})


def create_repo(hub: Hub, call: Call) -> Response:
    user = call.user
    if user is None:
        raise Refusal(401, "Invalid username or password.")
    name, namespace = call.json["name"], call.json.get("organization") or user.name
    if not REPO_NAME.fullmatch(name):
        raise Refusal(400, "Invalid repo name")
    if not call.may_write(namespace):
        raise Refusal(403, f'You don\'t have the rights to create a model under the namespace "{namespace}"')
    kind = f"{call.json.get('type', 'model')}s"
    full = f"{namespace}/{name}"
    url = f"{hub.endpoint}/{'' if kind == 'models' else kind + '/'}{full}"
    if (kind, full) in hub.repos:
        return JSONResponse({"error": "You already created this model repo", "url": url}, 409)
    repo = hub.repos[kind, full] = Repo(kind, full, call.json.get("visibility") == "private")
    repo.heads["main"] = repo.add({".gitattributes": Blob(b"*.safetensors filter=lfs\n", False)}, "initial commit")
    return JSONResponse({"url": url, "name": full})


def delete_repo(hub: Hub, call: Call) -> Response:
    name, kind = f"{call.json['organization']}/{call.json['name']}", f"{call.json.get('type', 'model')}s"
    call.names.update(kind=kind, repo=name)
    call.repo(write=True)
    del hub.repos[kind, name]
    return Response()


def validate_yaml(hub: Hub, call: Call) -> Response:
    errors = card_errors(call.json["content"])
    report = {"errors": [{"message": message} for message in errors], "warnings": []}
    return JSONResponse(report, 400 if errors else 200)


def card_errors(content: str) -> list[str]:
    """Errors in the metadata of a card, as the Hub checks it."""
    found = re.match(r"---\n(.*?)\n---\n", content, re.DOTALL)
    data = yaml.safe_load(found[1]) if found else {}
    errors = []
    if data.get("license", "other") not in LICENSES:
        errors.append('"license" must be one of the known ones')
    if not all(re.fullmatch(r"[a-z]{2,3}", code) for code in data.get("language", [])):
        errors.append('"language" must be a list of codes of ISO 639')
    for model in data.get("model-index", []):
        for result in model["results"]:
            for part, names in (("task", ["type"]), ("dataset", ["type", "name"])):
                if not all(isinstance(result.get(part, {}).get(name), str) for name in names):
                    errors.append(f'"model-index[0].results[0].{part}" lacks one of {names}')
            for metric in result["metrics"]:
                if not isinstance(metric.get("type"), str) or metric.get("value") is None:
                    errors.append('"metrics[0].value" is required')
    return errors


def info(hub: Hub, call: Call) -> Response:
    repo = call.repo()
    commit = call.commit(repo)
    answer = {"id": repo.name, "sha": commit, "private": repo.private, "tags": [], "downloads": 0, "gated": repo.gated}
    card = repo.commits[commit].get("README.md")
    found = re.match(rb"---\n(.*?)\n---\n", card.content, re.DOTALL) if card else None
    answer["cardData"] = yaml.safe_load(found[1]) if found else {}
    return JSONResponse({**answer, "siblings": [{"rfilename": path} for path in repo.commits[commit]]})


def _entry(path: str, blob: Blob) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": "file", "path": path, "size": len(blob.content), "oid": blob.oid[:40]}
    if blob.lfs:
        entry["lfs"] = {"oid": blob.oid, "size": len(blob.content), "pointerSize": 130}
    return entry


def _folders(tree: Tree) -> set[str]:
    return {"/".join(path.split("/")[:depth]) for path in tree for depth in range(1, path.count("/") + 1)}


def list_tree(hub: Hub, call: Call) -> Response:
    repo = call.repo()
    tree = repo.commits[call.commit(repo)]
    under = (call.names.get("path") or "").strip("/")
    if under and under not in _folders(tree):
        raise Refusal(404, f"{under} does not exist", "EntryNotFound")
    prefix = f"{under}/" if under else ""
    entries = [{"type": "directory", "path": name, "oid": "0" * 40, "size": 0} for name in _folders(tree)]
    entries += [_entry(path, blob) for path, blob in tree.items()]
    deep = call.request.query_params.get("recursive", "").lower() in ("true", "1")
    inside = [entry for entry in entries if entry["path"].startswith(prefix)]
    return JSONResponse([entry for entry in inside if deep or "/" not in entry["path"][len(prefix) :]])


def paths_info(hub: Hub, call: Call) -> Response:
    repo = call.repo()
    tree = repo.commits[call.commit(repo)]
    form = call.request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded")
    wanted = parse_qs(call.body.decode())["paths"] if form else call.json["paths"]
    found = [_entry(path, tree[path]) for path in wanted if path in tree]
    found += [{"type": "directory", "path": name, "oid": "0" * 40} for name in wanted if name in _folders(tree)]
    return JSONResponse(found)


def refs(hub: Hub, call: Call) -> Response:
    repo = call.repo()

    def listed(table: dict[str, str], prefix: str) -> list[dict[str, str]]:
        return [{"name": name, "ref": f"{prefix}{name}", "targetCommit": commit} for name, commit in table.items()]

    branches, tags = listed(repo.heads, "refs/heads/"), listed(repo.tags, "refs/tags/")
    return JSONResponse({"branches": branches, "converts": [], "tags": tags, "pullRequests": listed(repo.pulls, "")})


def create_branch(hub: Hub, call: Call) -> Response:
    repo = call.repo(write=True)
    name = call.names["branch"]
    if name in repo.heads:
        raise Refusal(409, f"Reference {name} already exists")
    start = (call.json or {}).get("startingPoint", "main") if call.body else "main"
    commit = repo.commit_of(start)
    if commit is None:
        raise Refusal(404, f"Invalid rev id: {start}", "RevisionNotFound")
    repo.heads[name] = commit
    return Response(status_code=201)


def create_tag(hub: Hub, call: Call) -> Response:
    repo = call.repo(write=True)
    tag = call.json["tag"]
    if tag in repo.tags:
        raise Refusal(409, f"Tag {tag} already exists")
    repo.tags[tag] = call.commit(repo)
    return JSONResponse({})


def preupload(hub: Hub, call: Call) -> Response:
    repo = call.repo(write=not call.is_pull)
    tree = repo.commits[call.commit(repo)]
    files = []
    for file in call.json["files"]:
        path = file["path"]
        mode = "lfs" if LARGE.fullmatch(path) or file["size"] > 10_000_000 else "regular"
        known = {"oid": tree[path].oid} if path in tree else {}
        files.append({"path": path, "uploadMode": mode, "shouldIgnore": False, **known})
    return JSONResponse({"files": files})


def lfs_batch(hub: Hub, call: Call) -> Response:
    if call.user is None:
        raise Refusal(401, "Log in first")
    call.repo()
    objects = []
    for wanted in call.json["objects"]:
        answer = {"oid": wanted["oid"], "size": wanted["size"]}
        if wanted["oid"] not in hub.objects:
            upload = f"{hub.endpoint}/lfs/{wanted['oid']}"
            answer["actions"] = {"upload": {"href": upload}, "verify": {"href": f"{upload}/verify"}}
        objects.append(answer)
    return JSONResponse({"transfer": "basic", "objects": objects})


def lfs_put(hub: Hub, call: Call) -> Response:
    if hashlib.sha256(call.body).hexdigest() != call.names["oid"]:
        raise Refusal(400, "the hash does not match")
    hub.objects[call.names["oid"]] = call.body
    return Response()


def lfs_verify(hub: Hub, call: Call) -> Response:
    if len(hub.objects.get(call.json["oid"], b"")) != call.json["size"]:
        raise Refusal(404, "no such object")
    return JSONResponse({"success": True})


def commit(hub: Hub, call: Call) -> Response:
    repo = call.repo(write=not call.is_pull)
    if call.user is None:
        raise Refusal(401, "Log in first")
    revision = call.names["revision"]
    if revision not in repo.heads and revision not in repo.pulls:
        raise Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")
    tree = dict(repo.commits[call.commit(repo)])
    lines = [json.loads(line) for line in call.body.splitlines()]
    title = lines[0]["value"]["summary"]
    for line in lines[1:]:
        value = line["value"]
        path = value["path"]
        if line["key"] == "file":
            tree[path] = Blob(base64.b64decode(value["content"]), False)
        elif line["key"] == "lfsFile":
            if value["oid"] not in hub.objects:
                raise Refusal(400, f"{path}: LFS object does not exist")
            tree[path] = Blob(hub.objects[value["oid"]], True)
        elif line["key"] == "deletedFile":
            if path not in tree:
                raise Refusal(404, "A file with this name doesn't exist", "EntryNotFound")
            del tree[path]
        else:
            tree = {name: blob for name, blob in tree.items() if not name.startswith(path)}
    made = repo.add(tree, title)
    answer = {"success": True, "commitOid": made, "commitUrl": f"{hub.endpoint}/{repo.name}/commit/{made}"}
    if call.is_pull:
        number = len(repo.pulls) + 1
        repo.pulls[f"refs/pr/{number}"] = made
        answer["pullRequestUrl"] = f"{hub.endpoint}/{repo.name}/discussions/{number}"
    elif revision in repo.heads:
        repo.heads[revision] = made
    else:
        repo.pulls[revision] = made
    return JSONResponse(answer)


def commits(hub: Hub, call: Call) -> Response:
    repo = call.repo()
    call.commit(repo)
    listed = [
        {"id": made, "title": title, "message": "", "authors": [], "date": "2026-01-01T00:00:00.000Z"}
        for made, title in repo.titles.items()
    ]
    return JSONResponse(listed[::-1])


def resolve(hub: Hub, call: Call) -> Response:
    repo = call.repo()
    made = call.commit(repo)
    blob = repo.commits[made].get(call.names["path"])
    if blob is None:
        raise Refusal(404, "Entry not found", "EntryNotFound")
    headers = {"X-Repo-Commit": made, "ETag": f'"{blob.oid}"', "Accept-Ranges": "bytes"}
    if blob.lfs:
        headers |= {"X-Linked-ETag": f'"{blob.oid}"', "X-Linked-Size": str(len(blob.content))}
    if call.request.method == "HEAD":
        return Response(headers={**headers, "Content-Length": str(len(blob.content))})
    found = re.fullmatch(r"bytes=(\d+)-(\d*)", call.request.headers.get("range", ""))
    if found:
        start, stop = int(found[1]), int(found[2] or len(blob.content) - 1) + 1
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(blob.content)}"
        return Response(blob.content[start:stop], 206, headers)
    return Response(blob.content, headers=headers)


def page(hub: Hub, call: Call) -> Response:
    return PlainTextResponse("a hub for tests")


# (methods, pattern of the path, handler)
ROUTES: list[tuple[str, str, Callable[[Hub, Call], Response]]] = [
    ("GET HEAD", "/", page),
    ("GET", "/api/whoami-v2", whoami),
    ("POST", "/api/repos/create", create_repo),
    ("DELETE", "/api/repos/delete", delete_repo),
    ("POST", "/api/validate-yaml", validate_yaml),
    ("GET", rf"/api/{KIND}/{REPO}/tree/(?P<revision>[^/]+)(?P<path>/.*)?", list_tree),
    ("POST", rf"/api/{KIND}/{REPO}/paths-info/(?P<revision>.+)", paths_info),
    ("GET", rf"/api/{KIND}/{REPO}/refs", refs),
    ("GET", rf"/api/{KIND}/{REPO}/commits/(?P<revision>.+)", commits),
    ("POST", rf"/api/{KIND}/{REPO}/branch/(?P<branch>.+)", create_branch),
    ("POST", rf"/api/{KIND}/{REPO}/tag/(?P<revision>.+)", create_tag),
    ("POST", rf"/api/{KIND}/{REPO}/preupload/(?P<revision>.+)", preupload),
    ("POST", rf"/api/{KIND}/{REPO}/commit/(?P<revision>.+)", commit),
    ("GET", rf"/api/{KIND}/{REPO}/revision/(?P<revision>.+)", info),
    ("GET", rf"/api/{KIND}/{REPO}", info),
    ("POST", rf"/((?P<kind>datasets|spaces)/)?{REPO}\.git/info/lfs/objects/batch", lfs_batch),
    ("PUT", r"/lfs/(?P<oid>\w+)", lfs_put),
    ("POST", r"/lfs/(?P<oid>\w+)/verify", lfs_verify),
    ("HEAD GET", rf"/((?P<kind>datasets|spaces)/)?{REPO}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", resolve),
]


def _listen() -> socket.socket:
    """A socket on a free port of loopback, bound before any client is imported: they read the address then."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    return listener


LISTENER = _listen()
# Whether the tests run against the real Hub: then HF_TOKEN must be set, with write access.
REAL_HUB = os.environ.get("FINETUNE_TEST_HUB") == "1"


def environment() -> dict[str, str]:
    """Environment that points the clients to this server, with empty caches and no token."""
    if REAL_HUB:
        return {}
    home = tempfile.mkdtemp(prefix="finetune-tests-")
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    return {"HF_HOME": home, "HF_ENDPOINT": "http://{}:{}".format(*LISTENER.getsockname()), "HF_TOKEN": ""}


def files_of(folder: Path) -> dict[str, bytes]:
    """Path -> content of the files in a folder, as `Hub.put` takes them."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
