"""What type checkers say of code that uses the client, and that both clients have the same methods."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import playwright
import pyright
import pytest

import contentgen
from contentgen import AsyncContentGenerationClient, ContentGenerationClient, client
from contentgen.client import errors
from contentgen.client.client import MessageMethods
from contentgen.client.target import Target
from tests.harness.documents import CLIENT_GUIDES, snippets

pytestmark = pytest.mark.unit


# What mypy and pyright, both strict, say of code that uses the client: nothing of right code, and of each mistake,
# in its line, what the comment there has.


CHECKOUT = Path(__file__).parents[2]
EXAMPLES = CHECKOUT / "examples" / "python"
SNIPPET = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
RIGHT = """
from contentgen import AsyncContentGenerationClient, Content, ContentGenerationClient, Task, TaskStatus


def ended(task: Task) -> bool:
    return task["status"] in ("completed", "failed") and task["completed_at"] is not None


def use(client: ContentGenerationClient) -> Content | None:
    statuses: set[TaskStatus] = set()
    for task in client.iter_tasks(status=["failed", "timeout"]):
        statuses.add(task["status"])
    with client.watch(["a"], until_ended=True) as events:
        for event in events:
            statuses.add(event["task"]["status"])
    task_id = client.submit_task(1, "a topic", tone="dry", timeout=60, labels={"order": "7"}, unique_key="k")
    client.submit_tasks({"account_id": 1, "topic": topic, "timeout": 60} for topic in ("a", "b"))
    client.create_schedule(1, "0 9 * * *", {"topic": "news", "labels": {"kind": "news"}})
    print(client.update_task(task_id, topic="another", max_retries=1, unschedule=True)["tone"])
    return client.get_content(client.wait("a", timeout=1.5)["content_id"])


async def use_async(client: AsyncContentGenerationClient) -> Content | None:
    statuses: set[TaskStatus] = set()
    async for task in client.iter_tasks(status="failed"):
        statuses.add(task["status"])
    async with client.watch(["a"], until_ended=True) as events:
        async for event in events:
            statuses.add(event["task"]["status"])
    return await client.get_content((await client.wait("a", timeout=1.5))["content_id"])
"""
WRONG = """
from contentgen import AsyncContentGenerationClient, ContentGenerationClient, InvalidStateException, Task


def use(client: ContentGenerationClient, task: Task) -> None:
    print(task["contnet_id"])  # "contnet_id"
    print(task["status"] == "complete")  # complete
    print(client.wait("a")["progres"])  # "progres"
    client.submit_task("1", "a topic")  # "int"
    client.submit_task(1, "a topic", tpoic="b")  # "tpoic"
    client.submit_task(1, "a topic", timeout="soon")  # "timeout"
    client.update_task("a", request_id="b")  # "request_id"
    client.create_schedule(1, "0 9 * * *", {"topc": "a"})  # "topc"
    client.create_schedule(1, "0 9 * * *", {"topic": 7})  # "str"
    client.submit_tasks([{"account_id": 1, "topc": "a"}])  # "topc"
    client.submit_tasks([{"account_id": "1", "topic": "a"}])  # "int"
    client.submit_tasks({"account_id": 1, "topc": topic} for topic in "ab")  # "NewTask"
    client.iter_tasks(status="lost")  # "status"
    print(client.get_content(1)["body"])  # None
    client.wayt("a")  # "wayt"
    for event in client.watch(["a"]):
        print(event["status"])  # "status"


async def use_async(client: AsyncContentGenerationClient, error: InvalidStateException) -> None:
    print((await client.wait("a"))["contnet_id"])  # "contnet_id"
    print((await client.get_task_status("a"))["status"])  # None
    print(client.wait("a")["status"])  # "Coroutine[Any, Any, Task]"
    for _ in client.iter_tasks():  # "AsyncIterator[Task]"
        pass
    print(error.state)  # "state"


from contentgen import ContentGeneratoinClient  # "ContentGeneratoinClient"
"""
NODE, PYRIGHT = (Path(package.__file__ or "").parent for package in (playwright, pyright))
CHECKERS: dict[str, list[str | Path]] = {
    "mypy": [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--cache-dir=mypy", "."],
    "pyright": [NODE / "driver/node", PYRIGHT / "dist/index.js", "--pythonpath", sys.executable],  # it brings no Node
}
ERROR = re.compile(r"^ *(?:\S*/)?(\w+)\.py:(\d+):(?:\d+ -)? error: (.*(?:\n[ \xa0]{3}.*)*)", re.MULTILINE)


@pytest.mark.parametrize("checker", CHECKERS)
def test_right_code_passes_and_each_mistake_is_named(checker: str, tmp_path: Path) -> None:
    [readme] = SNIPPET.findall((CHECKOUT / "README.md").read_text(encoding="utf-8"))
    guides = [snippet.text for page in CLIENT_GUIDES for snippet in snippets(page) if snippet[:2] == ("python", "")]
    texts = {path.stem: path.read_text(encoding="utf-8") for path in EXAMPLES.glob("*.py")}
    texts |= {"right": RIGHT, "wrong": WRONG, "readme": readme, "guides": "\n".join(guides)}
    for name, text in texts.items():
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
    (tmp_path / "pyrightconfig.json").write_text('{"typeCheckingMode": "strict"}')
    ran = subprocess.run(CHECKERS[checker], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    errors: dict[int, str] = {}
    for name, line, error in ERROR.findall(ran.stdout):
        assert name == "wrong", ran.stdout
        errors[int(line)] = errors.get(int(line), "") + error
    words = {n: line.rpartition("  # ")[2] for n, line in enumerate(WRONG.splitlines(), start=1) if "  # " in line}
    assert errors.keys() == words.keys(), ran.stdout + ran.stderr
    assert {n: errors[n] for n, word in words.items() if word not in errors[n]} == {}


# Both clients have the same methods, from one definition.


def methods(client: type) -> dict[str, Callable[..., Any]]:
    return {name: method for name, method in inspect.getmembers(client, inspect.isfunction) if not name.startswith("_")}


BLOCKING, ASYNCIO = methods(ContentGenerationClient), methods(AsyncContentGenerationClient)
RETURNS = {"Iterator[": "AsyncIterator[", "Watch": "AsyncWatch"}
"""What the asyncio client returns where it is no coroutine."""


def test_both_clients_have_the_same_methods() -> None:
    assert BLOCKING.keys() == ASYNCIO.keys() == methods(MessageMethods).keys() | {"close"}
    assert len(BLOCKING) > 30
    blocking, asyncio = map(inspect.signature, (ContentGenerationClient, AsyncContentGenerationClient))
    assert list(blocking.parameters) == list(asyncio.parameters)


@pytest.mark.parametrize("name", sorted(BLOCKING.keys() - {"close"}))
def test_a_method_has_one_signature_and_one_docstring(name: str) -> None:
    blocking, asyncio = inspect.signature(BLOCKING[name]), inspect.signature(ASYNCIO[name])
    assert blocking.parameters == asyncio.parameters
    assert BLOCKING[name].__doc__ == ASYNCIO[name].__doc__
    assert BLOCKING[name].__doc__
    assert not inspect.iscoroutinefunction(BLOCKING[name])
    returns = str(blocking.return_annotation)
    if inspect.iscoroutinefunction(ASYNCIO[name]):
        assert asyncio.return_annotation == returns
    else:
        start = next(start for start in RETURNS if returns.startswith(start))
        assert asyncio.return_annotation == returns.replace(start, RETURNS[start])


def test_every_exception_can_be_imported_from_the_package() -> None:
    raised = {name for name, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, Exception)}
    own = {name for name in raised if getattr(errors, name).__module__ == errors.__name__}
    assert own <= vars(client).keys()
    assert all(issubclass(getattr(contentgen, name), contentgen.ContentGenerationError) for name in own)


def test_the_package_lists_what_the_client_exports() -> None:
    names: dict[str, Any] = {}
    exec("from contentgen import *", names)  # noqa: S102 - what is tested
    assert {"ContentGenerationClient", "Task", "Unavailable"} <= names.keys()
    assert {*names} - {"__builtins__"} <= {*dir(contentgen)}
    assert "__version__" in dir(contentgen)


def test_the_client_needs_nothing_of_servers_and_tests() -> None:
    program = "import sys; before = {*sys.modules}; from contentgen import Watch; print(*{*sys.modules} - before)"
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    packages = {name.partition(".")[0] for name in output.split()} - sys.stdlib_module_names
    of_grpc = {"cython_runtime", "google", "grpc", "grpc_health", "grpc_reflection", "grpc_status", "grpc_tools"}
    assert {name for name in packages - of_grpc if "_cython" not in name} <= {"contentgen", "typing_extensions"}
    parts = set(re.findall(r"\bcontentgen\.(\w+)", output))
    assert parts == {"account_fields", "client", "rpcs", "submit_fields", "v1", "certificates"}


def test_what_the_package_does_not_have_is_named() -> None:
    with pytest.raises(AttributeError, match="module 'contentgen' has no attribute 'Cleint'"):
        _ = contentgen.Cleint  # type: ignore[attr-defined]


def test_a_method_of_an_instance_is_bound() -> None:
    with ContentGenerationClient("127.0.0.1:1") as instance:
        assert instance.wait.__self__ is instance  # type: ignore[attr-defined] # a bound method at run time
        assert list(inspect.signature(instance.wait).parameters) == ["task_id", "timeout", "check"]


def test_a_client_without_an_address_is_the_environment_s(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert Target.given(None, None, None).as_one == "127.0.0.1:50051"
    token = tmp_path / "token"
    token.write_text("secret\n")
    monkeypatch.setenv("CONTENTGEN_SCHEDULER", "10.0.0.1, 10.0.0.2:7")
    monkeypatch.setenv("CONTENTGEN_TOKEN_FILE", str(token))
    given = Target.given(None, None, None)
    assert (given.as_one, given.token, given.credentials) == ("ipv4:10.0.0.1:50051,10.0.0.2:7", "secret", None)
    assert Target.given("schedulers", None, None) == Target("schedulers:50051", None, None, from_environment=False)
    monkeypatch.setenv("CONTENTGEN_SCHEDULER", "a,b")
    with pytest.raises(ValueError, match="should be one name for all schedulers"):
        ContentGenerationClient()
