"""Every new snippet of the guides of the way over is run, in its order, against a scheduler and a worker."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.harness.client import Status
from tests.harness.guides import DOCS, Snippet, commands, snippets, type_in
from tests.harness.old_application import old_application
from tests.harness.process import Process
from tests.harness.stack import DEMO_CREATOR, Scheduler, Stack
from tests.harness.waiting import wait_until

GUIDES = [DOCS / "migration.md", DOCS / "zh-CN" / "quick-reference.md"]
TARGET, OLD, CREATOR = "127.0.0.1:50051", "/srv/old/app.db", "/path/to/content-creator"
WITHIN = 30.0
OLD_TASKS = 3


class Reader:
    """Somebody who types in what a guide says, with the stack's addresses and paths in place of the guide's."""

    def __init__(self, guide: Path, stack: Stack, scheduler: Scheduler, db_url: str) -> None:
        self._guide = guide
        self._folder = stack.folder
        self._places = {TARGET: scheduler.target, OLD: str(stack.folder / "old.db"), CREATOR: str(DEMO_CREATOR)}
        self._names: dict[str, Any] = {}
        self._environment = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(stack.folder),
            "DATABASE_URL": db_url,
            "CONTENTGEN_SCHEDULER": scheduler.target,
            "CONTENTGEN_LISTEN": "127.0.0.1:0",
            "CONTENTGEN_DATA_DIR": str(stack.folder / "reader"),
            "CONTENTGEN_ASSETS": str(scheduler.data_dir / "assets"),
            "CREATOR_CLI_PATH": str(DEMO_CREATOR),
            "CREATOR_PROFILE": "json",
            "CREATOR_ENV": "CREATOR_DEMO_DIR",
            "CREATOR_OPTIONS_ALLOWED": "*",
            "CREATOR_DEMO_DIR": str(stack.folder / "runs"),
        }

    def follow(self, snippet: Snippet) -> None:
        """Does what it says."""
        text = snippet.text
        for place, real in self._places.items():
            text = text.replace(place, real)
        match snippet.language, snippet.mark:
            case "python", "":
                exec(compile("\n" * (snippet.line - 1) + text, str(self._guide), "exec"), self._names)  # noqa: S102
            case "sh", "":
                type_in(text, self._environment, self._folder, within=WITHIN)
            case "sh", "service":
                self._serve(text)
            case other:
                pytest.fail(f"{self._guide.name}:{snippet.line}: a snippet that nothing runs: {other}")

    def _serve(self, text: str) -> None:
        """Runs a service until it is ready, then ends it as an operator does; it has to end well."""
        ((command, variables),) = commands(text)
        environment = {"CONTENTGEN_LOG_FORMAT": "json", **self._environment, **variables}
        with Process("snippet", command, self._folder / "reader.log", environment) as process:
            wait_until(
                lambda: process.events("session.opened") or process.events("ready") or not process.alive,
                within=WITHIN,
                what=f"ready: {text}",
            )
            process.stop(WITHIN)


@pytest.mark.costly("every snippet of a guide runs")
@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.parent.name)
def test_the_snippets_do_what_the_guide_says(
    stack: Stack, db_url: str, guide: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with old_application(f"sqlite:///{stack.folder}/old.db") as old:
        old.account(1)
        for number in range(OLD_TASKS):
            old.task(number + 1)
    scheduler = stack.scheduler(lease_ttl=60.0).start()
    stack.worker("a", scheduler, CREATOR_DEMO_SECONDS="0.2").start()
    reader = Reader(guide, stack, scheduler, db_url)
    new = [snippet for snippet in snippets(guide) if snippet.mark != "old"]
    imports = [snippet for snippet in new if "contentgen-scheduler import" in snippet.text]
    for snippet in imports:
        reader.follow(snippet)
    failed = fail_once(scheduler)
    for snippet in new:
        if snippet not in imports:
            reader.follow(snippet)
    client = scheduler.client
    assert client.wait(failed, within=WITHIN).retry_count == 1
    assert client.counts()["completed"] >= OLD_TASKS
    assert client.counts()["cancelled"] == 1
    out = capsys.readouterr().out
    assert "999" in out
    assert "processing -> completed" in out
    assert "人工智能的未来发展" in "".join(content.title for content in client.contents())


def fail_once(scheduler: Scheduler) -> str:
    """A task that fails the first time, and then waits for somebody to retry it."""
    options = {"demo-fail": "exit", "demo-fail-times": "1"}
    task_id = scheduler.client.submit(1, auto_retry=False, options=options)
    assert scheduler.client.wait(task_id, within=WITHIN).status == Status.TASK_STATUS_FAILED
    return task_id


def test_each_old_snippet_has_what_replaces_it_beside_it() -> None:
    for guide in GUIDES:
        blocks = snippets(guide)
        old = [i for i, snippet in enumerate(blocks) if snippet.mark == "old"]
        assert len(old) == 25
        assert [blocks[i + 1].mark for i in old if blocks[i + 1].mark == "old"] == []
