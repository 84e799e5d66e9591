"""What type checkers say of code that uses the client, and that both clients have the same methods."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

import contentgen
from contentgen import AsyncContentGenerationClient, ContentGenerationClient, client
from contentgen.client import errors
from contentgen.client.client import MessageMethods
from contentgen.client.target import Target
from tests.harness.documents import CLIENT_GUIDES, snippets

pytestmark = pytest.mark.unit


# What `mypy --strict` says of code that uses the client: nothing of right code, and each mistake by its line.


CHECKOUT = Path(__file__).parents[2]
README = CHECKOUT / "README.md"
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
    print(task["contnet_id"])  # typeddict-item
    print(task["status"] == "complete")  # comparison-overlap
    print(client.wait("a")["progres"])  # typeddict-item
    client.submit_task("1", "a topic")  # arg-type
    client.submit_task(1, "a topic", tpoic="b")  # call-arg
    client.submit_task(1, "a topic", timeout="soon")  # arg-type
    client.update_task("a", request_id="b")  # call-arg
    client.create_schedule(1, "0 9 * * *", {"topc": "a"})  # typeddict-unknown-key
    client.submit_tasks([{"account_id": 1, "topc": "a"}])  # list-item
    client.iter_tasks(status="lost")  # arg-type
    print(client.get_content(1)["body"])  # index
    client.wayt("a")  # attr-defined
    for event in client.watch(["a"]):
        print(event["status"])  # typeddict-item


async def use_async(client: AsyncContentGenerationClient, error: InvalidStateException) -> None:
    print((await client.wait("a"))["contnet_id"])  # typeddict-item
    print((await client.get_task_status("a"))["status"])  # index
    print(client.wait("a")["status"])  # index
    for task in client.iter_tasks():  # attr-defined
        print(task)
    print(error.state)  # attr-defined


from contentgen import ContentGeneratoinClient  # attr-defined
"""


@pytest.fixture(scope="module")
def mistakes(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Mapping[int, str]]:
    """The code of the error in each line of each text, which one run looks at; a wrong key has one of two."""
    [readme] = SNIPPET.findall(README.read_text(encoding="utf-8"))
    assert "from contentgen import ContentGenerationClient" in readme
    guide = "\n".join(
        snippet.text for page in CLIENT_GUIDES for snippet in snippets(page) if snippet[:2] == ("python", "")
    )
    folder, texts = tmp_path_factory.mktemp("mypy"), {"right": RIGHT, "wrong": WRONG, "readme": readme, "guide": guide}
    for name, text in texts.items():
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
    options = ["--strict", "--config-file=", f"--cache-dir={folder}", "--no-error-summary", "--hide-error-context"]
    program = [sys.executable, "-m", "mypy", *options, *(f"{name}.py" for name in texts)]
    ran = subprocess.run(program, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert ran.stderr == ""
    errors = re.findall(r"^(\w+)\.py:(\d+): error: .*\[([a-z-]+)\]$", ran.stdout, re.MULTILINE)
    assert len(errors) == ran.stdout.count(": error: "), ran.stdout
    return {
        name: {int(line): code.replace("misc", "typeddict-item") for file, line, code in errors if file == name}
        for name in texts
    }


@pytest.mark.parametrize("name", ["right", "readme", "guide"])
def test_right_code_passes(name: str, mistakes: Mapping[str, Mapping[int, str]]) -> None:
    assert mistakes[name] == {}


def test_each_mistake_is_named(mistakes: Mapping[str, Mapping[int, str]]) -> None:
    marked = {n: line.rpartition("# ")[2] for n, line in enumerate(WRONG.splitlines(), start=1) if "# " in line}
    assert mistakes["wrong"] == marked


# Both clients have the same methods, from one definition.


def methods(client: type) -> dict[str, Callable[..., Any]]:
    return {name: method for name, method in inspect.getmembers(client, inspect.isfunction) if not name.startswith("_")}


BLOCKING, ASYNCIO = methods(ContentGenerationClient), methods(AsyncContentGenerationClient)
RETURNS = {"Iterator[": "AsyncIterator[", "Watch": "AsyncWatch"}
"""What the asyncio client returns where it is no coroutine."""


def test_both_clients_have_the_same_methods() -> None:
    assert BLOCKING.keys() == ASYNCIO.keys()
    assert len(BLOCKING) > 30


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


def test_the_methods_of_messages_are_those_of_the_clients() -> None:
    assert methods(MessageMethods).keys() == BLOCKING.keys() - {"close"}


def test_both_clients_are_made_with_the_same_arguments() -> None:
    blocking, asyncio = (
        inspect.signature(client) for client in (ContentGenerationClient, AsyncContentGenerationClient)
    )
    assert list(blocking.parameters) == list(asyncio.parameters)


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
