"""The client's watch over the loss of a scheduler, and the snippets of its guide."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice, pairwise
from typing import Any

import pytest

from contentgen import ContentGenerationClient, TaskChange
from tests.harness.documents import CLIENT_GUIDES
from tests.harness.stack import Stack

pytestmark = pytest.mark.e2e


# The client's watch over the loss of a scheduler.


TASKS = 30
LIMIT = 60
WHOLE_LIFE = ["pending", "submitted", "processing", "completed"]


def lives(events: Iterable[TaskChange]) -> dict[str, list[tuple[str | None, str]]]:
    """The moves of each task, in the order of their events."""
    moves: dict[str, list[tuple[str | None, str]]] = defaultdict(list)
    for event in events:
        moves[event["task"]["task_id"]].append((event["previous_status"], event["task"]["status"]))
    return moves


def test_a_watch_outlives_its_scheduler_and_misses_and_doubles_nothing(stack: Stack) -> None:
    doomed, other = stack.scheduler("doomed").start(), stack.scheduler("other").start()
    account = other.client.create_account()
    target = f"ipv4:{doomed.target},{other.target}"
    with ThreadPoolExecutor(1) as executor, ContentGenerationClient(target) as client:
        task_ids = client.submit_tasks({"account_id": account, "topic": f"topic {n}"} for n in range(TASKS))
        watch = client.watch(task_ids, until_ended=True)
        present = list(islice(watch, TASKS))
        rest = executor.submit(list, watch)
        stack.quick_worker("a", other, slots=4).start()
        other.client.wait_completed(task_ids[0], within=LIMIT)
        doomed.kill()
        events = [*present, *rest.result(LIMIT)]
    assert [event["task"]["status"] for event in present] == ["pending"] * TASKS
    assert lives(events) == {task_id: [(None, "pending"), *pairwise(WHOLE_LIFE)] for task_id in task_ids}


# The snippets of the client's guides, one after the other, against a scheduler and a worker.


SNIPPET = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.costly("every snippet of a guide runs", seconds=3)
def test_the_snippets_do_what_the_guide_says(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    scheduler = stack.scheduler().start()
    assert scheduler.client.create_account() == 1
    stack.worker("a", scheduler, CREATOR_DEMO_SECONDS="1").start()
    guide = "".join(page.read_text(encoding="utf-8") for page in CLIENT_GUIDES)
    assert guide.count("127.0.0.1:50051") == 2, "a snippet for each client"
    first, *others = SNIPPET.findall(guide.replace("127.0.0.1:50051", scheduler.target))
    names: dict[str, Any] = {}
    run(first, names)
    with ContentGenerationClient(scheduler.target) as client:
        names["client"] = client
        client.wait(client.submit_task(1, "to be reviewed", auto_approve=False), LIMIT, check=True)
        for snippet in others:
            run(snippet, names)
    out = capsys.readouterr().out
    assert "# 人工智能的未来发展" in out
    assert "written: ['Tea', 'Bread', '城市里的自行车']" in out
    assert "publishing to be reviewed" in out
    assert "processing → completed" in out
    assert re.search(r"^\d of \d run on$", out, re.MULTILINE)
    assert "account 999" in out
    assert "it is completed and should be pending" in out
    assert "INVALID_ARGUMENT ['topic', 'priority']" in out
    assert "still pending" in out


def run(snippet: str, names: dict[str, Any]) -> None:
    exec(compile(snippet, "a guide of the client", "exec"), names)  # noqa: S102 - our own text
