"""A stand-in for the Hugging Face hub on loopback: the parts of its HTTP API that pushing and
fetching models use, with git's and LFS's hashes, commits and branches."""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "hf_of_the_test"
USER = "me"
LFS_BYTES = 2000  # files from this size on are LFS's, but for text


@dataclass
class Repository:
    """Its commits, each a whole tree, and which of them its branches point to."""

    private: bool
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    messages: dict[str, str] = field(default_factory=dict)

    def commit(self, branch: str, tree: dict[str, bytes], message: str) -> str:
        """Add a commit to a branch, and return its hash."""
        listed = sorted((name, hashlib.sha1(data).hexdigest()) for name, data in tree.items())
        sha = hashlib.sha1(f"{len(self.commits)}{message}{listed}".encode()).hexdigest()
        self.commits[sha] = dict(tree)
        self.branches[branch], self.messages[sha] = sha, message
        return sha

    def sha(self, revision: str) -> str | None:
        """The commit of a branch or of a hash."""
        return self.branches.get(revision, revision if revision in self.commits else None)


@dataclass
class Hub:
    """What the server holds, and what it was asked.

    Attributes:
        url: where it is.
        repositories: by their names.
        objects: of LFS, by their SHA-256.
        requests: method and path of each.
        ranges: paths that were asked for from a byte on.
        breaks: paths whose next answer breaks off in the middle.
        failing: answer everything with this status.
        ignored: names that a .gitignore leaves out.
        moves_on: somebody else commits before the next commit does.
    """

    url: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    ranges: list[str] = field(default_factory=list)
    breaks: set[str] = field(default_factory=set)
    failing: int = 0
    ignored: set[str] = field(default_factory=set)
    moves_on: bool = False

    def put(self, name: str, files: dict[str, bytes], private: bool = False) -> Repository:
        """Make a repository with these files."""
        made = self.repositories[name] = Repository(private)
        made.commit("main", {".gitattributes": b"", **files}, "first")
        return made

    def tree(self, name: str, revision: str = "main") -> dict[str, bytes]:
        """The files of a revision."""
        repository = self.repositories[name]
        return repository.commits[repository.branches[revision]]

    def fetched(self) -> list[str]:
        """The files whose content was asked for."""
        return [each.rpartition("/")[2] for each in self.requests if each.startswith("GET /me/")]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *arguments: object) -> None:
        """Keep the test's output clean."""

    def do_GET(self) -> None:
        self._route("GET")

    def do_HEAD(self) -> None:
        self._route("HEAD")

    def do_POST(self) -> None:
        self._route("POST")

    def do_PUT(self) -> None:
        self._route("PUT")

    def _route(self, method: str) -> None:
        path = unquote(urlsplit(self.path).path)
        body = self._body()
        self.hub.requests.append(f"{method} {path}")
        if self.hub.failing:
            self._json({"error": "out of order"}, self.hub.failing)
            return
        for pattern, name in _ROUTES:
            if found := re.fullmatch(f"{method} {pattern}", f"{method} {path}"):
                getattr(self, name)(*found.groups(), *([body] if method in ("POST", "PUT") else []))
                return
        self._json({"error": f"no route {method} {path}"}, 404)

    def _body(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            data = b""
            while size := int(self.rfile.readline(), 16):
                data += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return data
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _json(self, document: object, status: int = 200, **headers: str) -> None:
        data = json.dumps(document).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    @property
    def _is_logged_in(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def _found(self, name: str, revision: str) -> tuple[Repository, str] | None:
        """The repository and the commit; None after an answer that says what there is not."""
        repository = self.hub.repositories.get(name)
        if repository is None or (repository.private and not self._is_logged_in):
            self._json({"error": "Repository not found"}, 404, X_Error_Code="RepoNotFound")
            return None
        sha = repository.sha(revision)
        if sha is None:
            self._json({"error": "Invalid rev id"}, 404, X_Error_Code="RevisionNotFound")
            return None
        return repository, sha

    def _may_write(self, name: str) -> bool:
        if not self._is_logged_in:
            self._json({"error": "Invalid username or password."}, 401)
        elif name.partition("/")[0] != USER:
            self._json({"error": "Forbidden"}, 403)
        else:
            return True
        return False

    def whoami(self) -> None:
        status = 200 if self._is_logged_in else 401
        self._json({"type": "user", "name": USER, "orgs": [], "auth": {}}, status)

    def create(self, body: bytes) -> None:
        asked = json.loads(body)
        name = f"{asked.get('organization') or USER}/{asked['name']}"
        if not self._may_write(name):
            return
        url = f"{self.hub.url}/{name}"
        if name in self.hub.repositories:
            self._json({"error": "You already created this model repo", "url": url}, 409)
            return
        private = asked.get("visibility") == "private" or bool(asked.get("private"))
        self.hub.put(name, {}, private)
        self._json({"url": url, "name": name})

    def branch(self, name: str, branch: str, body: bytes) -> None:
        if not self._may_write(name) or (found := self._found(name, "main")) is None:
            return
        repository, sha = found
        if branch in repository.branches:
            self._json({"error": "Reference already exists"}, 409)
            return
        repository.branches[branch] = sha
        self._json({})

    def info(self, name: str, revision: str | None = None) -> None:
        if (found := self._found(name, revision or "main")) is None:
            return
        repository, sha = found
        siblings = [{"rfilename": each} for each in repository.commits[sha]]
        facts = {"id": name, "sha": sha, "private": repository.private, "siblings": siblings}
        self._json({**facts, "tags": [], "downloads": 0, "likes": 0})

    def validate(self, body: bytes) -> None:
        text = json.loads(body)["content"]
        good = text.startswith("---\n") and "\n---\n" in text
        errors = [] if good else [{"message": "no metadata"}]
        self._json({"errors": errors, "warnings": []}, 200 if good else 400)

    def preupload(self, name: str, revision: str, body: bytes) -> None:
        if not self._may_write(name) or (found := self._found(name, revision)) is None:
            return
        repository, sha = found
        tree = repository.commits[sha]
        self._json(
            {
                "files": [
                    {
                        "path": each["path"],
                        "uploadMode": "lfs" if _is_lfs(each["path"], each["size"]) else "regular",
                        "shouldIgnore": each["path"] in self.hub.ignored,
                        "oid": _oid(each["path"], tree),
                    }
                    for each in json.loads(body)["files"]
                ]
            }
        )

    def batch(self, name: str, body: bytes) -> None:
        if not self._may_write(name):
            return
        objects = []
        for each in json.loads(body)["objects"]:
            upload = {"href": f"{self.hub.url}/lfs-objects/{each['oid']}", "header": {}}
            is_new = each["oid"] not in self.hub.objects
            objects.append({**each, **({"actions": {"upload": upload}} if is_new else {})})
        self._json({"transfer": "basic", "objects": objects})

    def upload(self, oid: str, body: bytes) -> None:
        if hashlib.sha256(body).hexdigest() != oid:
            self._json({"error": "another hash"}, 400)
            return
        self.hub.objects[oid] = body
        self._json({})

    def commit(self, name: str, revision: str, body: bytes) -> None:
        if not self._may_write(name) or (found := self._found(name, revision)) is None:
            return
        repository, sha = found
        lines = [json.loads(line) for line in body.splitlines()]
        header = lines[0]["value"]
        if self.hub.moves_on:
            sha = repository.commit(revision, repository.commits[sha], "somebody else's")
        if header.get("parentCommit") not in (None, sha):
            self._json({"error": "the branch has moved on"}, 412)
            return
        tree = dict(repository.commits[sha])
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "file":
                tree[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                tree[value["path"]] = self.hub.objects[value["oid"]]
            else:
                assert line["key"] == "deletedFile", line
                del tree[value["path"]]
        made = repository.commit(revision, tree, header["summary"])
        url = f"{self.hub.url}/{name}/commit/{made}"
        self._json({"commitUrl": url, "commitOid": made, "success": True})

    def paths(self, name: str, revision: str, body: bytes) -> None:
        if (found := self._found(name, revision)) is not None:
            tree = found[0].commits[found[1]]
            self._json(
                [_entry(path, tree) for path in parse_qs(body.decode())["paths"] if path in tree]
            )

    def tree(self, name: str, revision: str) -> None:
        if (found := self._found(name, revision)) is not None:
            tree = found[0].commits[found[1]]
            self._json([_entry(path, tree) for path in tree])

    def resolve(self, name: str, revision: str, path: str) -> None:
        if (found := self._found(name, revision)) is None:
            return
        repository, sha = found
        tree = repository.commits[sha]
        if (data := tree.get(path)) is None:
            self._json({}, 404, X_Error_Code="EntryNotFound", X_Repo_Commit=sha)
            return
        start = 0
        if asked := re.match(r"bytes=(\d+)-", self.headers.get("Range", "")):
            start = int(asked[1])
            self.hub.ranges.append(path)
        self.send_response(206 if start else 200)
        self.send_header("ETag", f'"{_oid(path, tree)}"')
        self.send_header("X-Repo-Commit", sha)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(data) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        if self.command == "HEAD":
            return
        if path in self.hub.breaks:
            self.hub.breaks.remove(path)
            self.wfile.write(data[: len(data) // 2])
            self.close_connection = True
            return
        self.wfile.write(data[start:])


def _entry(path: str, tree: dict[str, bytes]) -> dict[str, object]:
    """What the hub says of a file."""
    size, oid = len(tree[path]), _oid(path, tree)
    lfs = {"lfs": {"oid": oid, "size": size, "pointerSize": 130}} if _is_lfs(path, size) else {}
    return {"type": "file", "path": path, "size": size, "oid": oid, **lfs}


def _is_lfs(path: str, size: int) -> bool:
    return size >= LFS_BYTES and not path.endswith((".json", ".md"))


def _oid(path: str, tree: dict[str, bytes]) -> str | None:
    """LFS's hash of a large file, git's of another; None where there is no such file."""
    if (data := tree.get(path)) is None:
        return None
    if _is_lfs(path, len(data)):
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


_NAME = "([^/]+/[^/]+)"
_ROUTES = [
    ("/api/whoami-v2", "whoami"),
    ("/api/repos/create", "create"),
    ("/api/validate-yaml", "validate"),
    (f"/api/models/{_NAME}/branch/(.+)", "branch"),
    (f"/api/models/{_NAME}/revision/(.+)", "info"),
    (f"/api/models/{_NAME}/preupload/(.+)", "preupload"),
    (f"/api/models/{_NAME}/commit/(.+)", "commit"),
    (f"/api/models/{_NAME}/paths-info/(.+)", "paths"),
    (f"/api/models/{_NAME}/tree/(.+)", "tree"),
    (f"/api/models/{_NAME}", "info"),
    (f"/{_NAME}.git/info/lfs/objects/batch", "batch"),
    ("/lfs-objects/([0-9a-f]{64})", "upload"),
    (f"/{_NAME}/resolve/([^/]+)/(.+)", "resolve"),
]


@contextmanager
def serving() -> Iterator[Hub]:
    """Run the stand-in on a free port of loopback."""
    hub = Hub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
