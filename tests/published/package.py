"""The npm package llm-content-creator, and stand-ins for all that it calls."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest

from tests.harness.http_server import Handler, HttpServer

# The npm package llm-content-creator, as it is published, installed once on a machine.
#
# It is put beside the caches of other programs, not into the checkout: compiling its SQLite module takes a minute.


NAME = "llm-content-creator"
VERSION = "0.2.0"
INTEGRITY = "sha512-XHs/2arU7q178l4+bZa3xO99uTsuyR5KOJV0V9s808zS7O0tsMAK/PDetKZyDgrYa7K9CYXb5ZcnELPylZCRMg=="
"""What the registry says of exactly this version's archive."""
_NATIVE = ("better-sqlite3", "msgpackr-extract")
"""Dependencies whose install scripts have to run."""
_INSTALL_LIMIT = 540.0
_CLI = Path("node_modules", ".bin", "content-creator")


def installed() -> Path:
    """The path of its CLI; skips the test where npm is missing."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        pytest.skip(f"npm is missing: the tests of {NAME} need Node.js 20 or newer with npm on the PATH")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "contentgen")
    cache.mkdir(parents=True, exist_ok=True)
    folder = cache / f"{NAME}-{VERSION}-{_abi(node)}"
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one process installs, the others wait for it
        if not folder.exists():
            _install(npm, folder)
    return folder / _CLI


def _abi(node: str) -> str:
    """What a compiled module fits: another Node needs another one."""
    show = "[process.platform, process.arch, process.versions.modules].join('-')"
    return subprocess.run([node, "-p", show], capture_output=True, text=True, timeout=30, check=True).stdout.strip()


def _install(npm: str, folder: Path) -> None:
    """Installs into a folder beside `folder`, which is only there once it is whole."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        making = Path(temporary, "package")
        making.mkdir()
        wanted = {"private": True, "dependencies": {NAME: VERSION}, "allowScripts": dict.fromkeys(_NATIVE, True)}
        (making / "package.json").write_text(json.dumps(wanted))
        options = ["--omit=dev", "--ignore-scripts=false", "--no-audit", "--no-fund", "--no-progress"]
        done = subprocess.run(
            [npm, "install", *options], cwd=making, capture_output=True, text=True, timeout=_INSTALL_LIMIT, check=False
        )
        if done.returncode != 0:
            pytest.fail(f"npm install {NAME}@{VERSION} exited with {done.returncode}:\n{done.stderr[-4000:]}")
        locked = json.loads((making / "package-lock.json").read_text())["packages"][f"node_modules/{NAME}"]
        assert (locked["version"], locked["integrity"]) == (VERSION, INTEGRITY), "this is not the published package"
        making.rename(folder)


# Stand-ins, on one loopback port, for all that llm-content-creator calls: its model, its pictures, its search.


REDIRECT = Path(__file__).with_name("redirect.cjs")
"""Loaded into the program before it begins: sends its https here, and lets it reach nothing else."""
_CHUNK = 40


class Kind(StrEnum):
    """What is asked for."""

    SEARCH = "search"
    OUTLINE = "outline"
    ARTICLE = "article"
    TEXT_REVIEW = "text review"
    PICTURE_PROMPTS = "picture prompts"
    PICTURE = "picture"
    PICTURE_REVIEW = "picture review"


@dataclass(frozen=True)
class Answer:
    """What is answered to each request of a kind: `body` is the model's text, or the whole document of the others."""

    body: str = ""
    status: int = 200
    held: bool = False
    """Whether the answer does not come before the endpoints are closed."""


def text_review(score: float) -> Answer:
    """A review of the article with `score`, 0 to 10, in each of its four parts."""
    parts = ("relevance", "coherence", "completeness", "readability")
    details = {"hardRules": {"passed": True}, "softScores": {part: {"score": score, "reason": "…"} for part in parts}}
    review = {"score": score, "passed": True, "hardConstraintsPassed": True, "details": details}
    return Answer(json.dumps({**review, "fixSuggestions": ["更具体一些"]}))


def picture_review(score: float) -> Answer:
    """A review of one picture with `score`, 0 to 10."""
    details = {"relevanceScore": score, "aestheticScore": score, "promptMatch": score}
    return Answer(json.dumps({"score": score, "passed": True, "details": details, "fixSuggestions": []}))


ARTICLE = (
    "# 人工智能的未来\n\n这是导语，说明文章要谈什么。\n\n![城市](image-placeholder-1)\n\n"
    + "人工智能正在改变我们工作和学习的方式。" * 40
    + "\n\n![课堂](image-placeholder-2)\n\n## 结语\n\n综上，未来由我们自己决定。\n"
)
PICTURES = ("https://pictures.invalid/1.png", "https://pictures.invalid/2.png")
GOOD: Mapping[Kind, Answer] = {
    Kind.SEARCH: Answer(
        json.dumps({"answer": "…", "results": [{"title": "t", "url": "https://found.invalid", "content": "c"}]})
    ),
    Kind.OUTLINE: Answer(json.dumps({"outline": "# 大纲", "keyPoints": ["一", "二", "三"], "summary": "摘要" * 60})),
    Kind.ARTICLE: Answer(ARTICLE),
    Kind.TEXT_REVIEW: text_review(8.6),
    Kind.PICTURE_PROMPTS: Answer(json.dumps(["1", "2"])),
    Kind.PICTURE: Answer(),
    Kind.PICTURE_REVIEW: picture_review(8.0),
}


@dataclass(frozen=True)
class Asked:
    """A request that came."""

    kind: Kind
    document: dict[str, Any]


class Endpoints(HttpServer):
    """What is answered, and what was asked so far."""

    def __init__(self, answers: Mapping[Kind, Answer]) -> None:
        super().__init__(_Handler)
        self.answers = answers
        self.asked: list[Asked] = []
        self.strays: list[str] = []
        """Requests that nobody expected, by method, host and path."""
        self.closing = threading.Event()

    @property
    def environment(self) -> dict[str, str]:
        """What brings the program here. Its keys are no secrets."""
        keys = dict.fromkeys(("LLM_API_KEY", "TAVILY_API_KEY", "ARK_API_KEY"), "a key")
        urls = {"LLM_BASE_URL": f"{self.url}/v1", "ARK_API_URL": self.url, "STUB_ENDPOINTS": self.url}
        return {**keys, **urls, "NODE_OPTIONS": f"--require={REDIRECT}"}

    def of(self, kind: Kind) -> list[dict[str, Any]]:
        """The documents of the requests of a kind."""
        return [asked.document for asked in self.asked if asked.kind is kind]


PASSED = ("NODE_OPTIONS", "STUB_ENDPOINTS")
"""Variables of `Endpoints.environment` that a worker hands on only where CREATOR_ENV names them."""


@contextmanager
def serving(**answers: Answer) -> Iterator[Endpoints]:
    """Endpoints that answer as `GOOD`, except to the kinds named (in lower case, `text_review=…`)."""
    changed = {Kind(name.replace("_", " ")): answer for name, answer in answers.items()}
    with Endpoints({**GOOD, **changed}) as endpoints:
        try:
            yield endpoints
        finally:
            endpoints.closing.set()


class _Handler(Handler):
    server: Endpoints
    timeout = 30

    def do_POST(self) -> None:
        document = json.loads(self.body())
        kind = _kind(self.path, document)
        if kind is None:
            self.server.strays.append(f"POST {self.headers['Host']} {self.path}")
            self.answer(404, b"{}")
            return
        self.server.asked.append(Asked(kind, document))
        answer = self.server.answers[kind]
        if answer.held:
            self.server.closing.wait()
            return
        self.answer(answer.status, _body(kind, answer, document))


def _kind(path: str, document: Mapping[str, Any]) -> Kind | None:
    if path == "/search":
        return Kind.SEARCH
    if path == "/api/v3/images/generations":
        return Kind.PICTURE
    if path != "/v1/chat/completions":
        return None
    prompt = document["messages"][-1]["content"]
    marks = {
        "softScores": Kind.TEXT_REVIEW,
        "aestheticScore": Kind.PICTURE_REVIEW,
        '"outline"': Kind.OUTLINE,
        "配图提示词": Kind.PICTURE_PROMPTS,
    }
    return next((kind for mark, kind in marks.items() if mark in prompt), Kind.ARTICLE)


def _body(kind: Kind, answer: Answer, asked: Mapping[str, Any]) -> bytes:
    if answer.status != 200:
        return json.dumps({"error": {"message": answer.body}}).encode()
    if kind is Kind.SEARCH:
        return answer.body.encode()
    if kind is Kind.PICTURE:
        return json.dumps({"data": [{"url": answer.body or PICTURES[int(asked["prompt"]) - 1]}]}).encode()
    if asked.get("stream"):
        return _stream(answer.body)
    return json.dumps({"choices": [{"message": {"role": "assistant", "content": answer.body}}], "usage": {}}).encode()


def _stream(text: str) -> bytes:
    pieces = (text[at : at + _CHUNK] for at in range(0, len(text), _CHUNK))
    events = [json.dumps({"choices": [{"delta": {"content": piece}}]}) for piece in pieces]
    return "".join(f"data: {event}\n\n" for event in [*events, "[DONE]"]).encode()
