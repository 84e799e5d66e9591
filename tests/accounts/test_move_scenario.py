"""Two deployments of two cells: an account moves from one to the other while its program submits and others work."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from contentgen import ContentGenerationClient, FailedPrecondition
from contentgen.submit_fields import SubmitFields
from tests.harness.cluster import Databases
from tests.harness.stack import Stack
from tests.harness.waiting import wait_until

pytestmark = pytest.mark.e2e

TOPIC = "an unmistakable topic"
WINDOW_S = 60.0
"""In which submits may be refused, at most."""


@pytest.fixture
def other_url(databases: Databases, template: str) -> Iterator[str]:
    with databases.lent(template) as url:
        yield url


class Program:
    """Submits to its account one task after the other, wherever that is; what is refused, it submits again."""

    def __init__(self, target: str, account_id: int, prefix: str = TOPIC) -> None:
        self.target = target
        self.submitted: dict[str, str] = {}
        self.refused_for = 0.0
        self._account_id = account_id
        self._prefix = prefix
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Program:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        number = 0
        refused_since = None
        while not self._over.wait(0.02):
            with ContentGenerationClient(self.target) as client:
                topic = f"{self._prefix} {number}"
                try:
                    task_id = client.submit_task(self._account_id, topic, request_id=topic, auto_approve=True)
                except FailedPrecondition:
                    refused_since = refused_since or time.monotonic()
                    continue
            if refused_since is not None:
                self.refused_for, refused_since = time.monotonic() - refused_since, None
            self.submitted[topic] = task_id
            number += 1


@pytest.mark.costly("two deployments, one of which has an account's tasks in the end", seconds=25)
def test_an_account_moves_between_two_deployments_under_load(other_url: str, stack: Stack, tmp_path: Path) -> None:
    old = stack.scheduler("old", CONTENTGEN_CELL="1", CONTENTGEN_WEBHOOK_ALLOW="127.0.0.1").start()
    new = stack.scheduler("new", database_url=other_url, CONTENTGEN_CELL="2").start()
    workers = [stack.quick_worker(f"worker-{scheduler.name}", scheduler) for scheduler in (old, new)]
    for worker in workers:
        worker.start()
    account_id, neighbour = old.client.create_account(), old.client.create_account()
    archive = tmp_path / "account.tar"
    with (
        ContentGenerationClient(old.target) as there,
        ContentGenerationClient(new.target) as here,
        Program(old.target, neighbour, "a neighbour's topic") as other,
        Program(old.target, account_id) as program,
    ):
        there.update_account(account_id, name=f"{TOPIC}: the account")
        there.create_webhook(f"http://127.0.0.1:1/{TOPIC.replace(' ', '-')}", ["task.ended"], account_id=account_id)
        more: SubmitFields = {"unique_key": TOPIC, "labels": {"order": TOPIC}, "creator_options": {"status": "3"}}
        more["auto_retry"] = False
        failed = there.submit_task(account_id, f"{TOPIC} that fails", **more)
        wait_until(lambda: len(program.submitted) > 20, within=30, what="the program submits")
        there.pause_dispatch(account_id)
        wait_until(lambda: _running(there, account_id) == 0, within=30, what="nothing of the account runs")
        waits = len(program.submitted)
        wait_until(lambda: len(program.submitted) > waits + 10, within=30, what="it submits while it is paused")
        wait_until(lambda: "deliver to a webhook failed" in old.log.read_text(), within=30, what="a delivery fails")
        there.deactivate_account(account_id)
        size = there.export_account(account_id, archive)
        assert size == archive.stat().st_size
        stored = here.import_account(archive)
        assert (stored["account"]["account_id"], stored["account"]["active"]) == (account_id, False)
        here.update_account(account_id, active=True)
        here.resume_dispatch(account_id)
        program.target = new.target
        moved = len(program.submitted)
        wait_until(lambda: len(program.submitted) > moved + 10, within=30, what="it submits at the new deployment")
        others = len(other.submitted)
        while not there.erase_account(account_id)["done"]:
            pass
        wait_until(lambda: len(other.submitted) > others + 10, within=30, what="its neighbour submits as before")
    assert 0 < program.refused_for < WINDOW_S
    with ContentGenerationClient(new.target) as here, ContentGenerationClient(old.target) as there:
        tasks = {task_id: here.wait(task_id, timeout=60) for task_id in program.submitted.values()}
        assert {task["status"] for task in tasks.values()} == {"completed"}
        listed = {task["task_id"] for task in here.iter_tasks(account_id=account_id)} - {failed}
        assert listed == tasks.keys(), "nothing is lost, and nothing is there that nobody has submitted"
        contents = [content["task_id"] for content in here.iter_contents(account_id=account_id)]
        assert sorted(contents) == sorted(tasks), "each has one content"
        assert not listed & {task["task_id"] for task in there.iter_tasks()}
        assert len(list(there.iter_tasks(account_id=neighbour))) == len(other.submitted)
        articles = [here.get_content(content["content_id"]) for content in here.iter_contents(account_id)]
    personal = {TOPIC, TOPIC.replace(" ", "-")}
    personal |= {article[text].strip()[:20] for article in articles if article for text in ("title", "body")}
    for service in (old, new, *workers):
        log = service.log.read_text(encoding="utf-8")
        assert [text for text in personal if text in log] == [], service.name
    kept = [path for path in workers[0].folder.rglob("*") if path.is_file()]
    assert kept
    assert [path for path in kept if TOPIC.encode() in path.read_bytes()] == []


def _running(client: ContentGenerationClient, account_id: int) -> int:
    counts = client.get_task_stats(account_id)["counts"]
    return counts["submitted"] + counts["processing"]
