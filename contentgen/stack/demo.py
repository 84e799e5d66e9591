"""`demo`: the whole life of a handful of tasks on a stack of its own, in a folder that is gone afterwards.

Layer: cli.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console

from contentgen.client import ContentGenerationClient
from contentgen.stack import show
from contentgen.stack.processes import Interrupts, StackError
from contentgen.stack.services import WORKERS, Stack, environment, throwaway_folder

ACCOUNT = 1
LIMIT = 60.0
"""Seconds for all tasks to end: far more than they take."""
LEASE_TTL = 5
"""Seconds, the least that there may be: a lost worker is missed soon."""
GRACE = 0.5
"""Seconds: where all went well nothing runs any more, and else nobody needs it."""

Document = Mapping[str, Any]


class Part(NamedTuple):
    """A task of the demo, and what it is there to show."""

    topic: str
    priority: int
    shows: str
    options: Mapping[str, Any] = {}
    """More arguments of `submit_task`."""


ARTICLE = Part(
    "人工智能的未来发展", 8, "the article", {"keywords": "AI,人工智能,技术", "category": "科技", "tone": "专业"}
)
FAILS = Part(
    "A CLI that fails the first time",
    6,
    "fails, and is retried by RetryTask",
    {"auto_retry": False, "creator_options": {"demo-fail": "exit", "demo-fail-times": "1"}},
)
CANCELLED = Part(
    "Something nobody wants any more", 1, "is cancelled, running or not", {"creator_options": {"demo-seconds": "60"}}
)
LOSES_ITS_WORKER = Part(
    "Working well from home",
    9,
    "loses its worker midway, runs again elsewhere",
    {"creator_options": {"demo-first-seconds": "4"}},
)
REVIEWED = Part("春天的第一杯咖啡", 5, "waits for a review", {"auto_approve": False})
PARTS = (
    LOSES_ITS_WORKER,
    ARTICLE,
    CANCELLED,
    FAILS,
    REVIEWED,
    Part("Breaking: a queue that loses nothing", 10, "goes first"),
)
KILLED_AT = 40
"""Percent."""


def demo(interrupts: Interrupts) -> None:
    """Runs the demo. Raises StackError, which names the log to read, or Interrupted."""
    terminal = show.console()
    start = time.monotonic()
    with throwaway_folder("demo") as folder:
        terminal.print(f"starting PostgreSQL, a scheduler, a console and {WORKERS} workers in {folder}", soft_wrap=True)
        settings = {"CREATOR_DEMO_SECONDS": "0.5", "CONTENTGEN_SLOTS": "2", "CONTENTGEN_LEASE_TTL": f"{LEASE_TTL}s"}
        with Stack({**environment(folder), **settings}, folder / "logs", GRACE, interrupts) as stack:
            terminal.print(f"the console is at {stack.console} until the end", soft_wrap=True)
            with ContentGenerationClient(stack.target) as client:
                _Story(stack, client, terminal, folder / "logs").tell()
            terminal.print("stopping")
    terminal.print(f"done in {time.monotonic() - start:.1f} s; nothing is left running")


class _Story:
    """What happens on the stack, from the first account to the last screen."""

    def __init__(self, stack: Stack, client: ContentGenerationClient, out: Console, logs: Path) -> None:
        self._stack = stack
        self._client = client
        self._out = out
        self._logs = logs
        self._tasks: dict[str, Part] = {}
        self._handled: set[str] = set()
        self._killed = ""
        """The worker that was killed; empty: none was yet."""

    def tell(self) -> None:
        account = self._client.create_account("demo")
        self._expect(account["account_id"] == ACCOUNT, f"the first account is {account}")
        self._stack.until(self._all_workers, within=LIMIT, what=f"{WORKERS} workers are connected")
        with show.View(self._out) as view:
            for part in PARTS:
                task_id = self._client.submit_task(ACCOUNT, part.topic, priority=part.priority, **part.options)
                self._tasks[task_id] = part
                view.say(f"SubmitTask {task_id}: {part.shows}")
            self._stack.until(lambda: self._follow(view), within=LIMIT, what="all tasks have ended")
        self._stack.until(self._all_workers, within=LIMIT, what=f"{WORKERS} workers are connected")
        self._sum_up()

    def _follow(self, view: show.View) -> bool:
        """Shows the tasks, acts on those whose part needs it, and returns whether all have ended well."""
        tasks = self._status()
        view.show(tasks)
        for task in tasks:
            self._act_on(task, tasks, view)
        return all(task["status"] == self._last(task) for task in tasks)

    def _status(self) -> list[Document]:
        statuses = self._client.get_task_statuses(list(self._tasks))
        return [task for task in statuses if task is not None]

    def _last(self, task: Document) -> str:
        return "cancelled" if self._tasks[task["task_id"]] is CANCELLED else "completed"

    def _act_on(self, task: Document, tasks: Sequence[Document], view: show.View) -> None:
        task_id, part = task["task_id"], self._tasks[task["task_id"]]
        if part is LOSES_ITS_WORKER and not self._killed and _percent(task) >= KILLED_AT:
            self._killed = task["worker_id"]
            view.say(f"kill -9    {self._killed}, which runs {task_id}")
            self._stack.kill_worker(self._killed)
        elif part is LOSES_ITS_WORKER and task["attempt"] > 1 and task_id not in self._handled:
            self._handled.add(task_id)
            view.say(f"attempt {task['attempt']}  of {task_id} is on {task['worker_id']}")
            self._stack.restart_worker()
        elif (
            part is CANCELLED
            and task_id not in self._handled
            and any(entry["status"] == "completed" for entry in tasks)
        ):
            self._handled.add(task_id)
            view.say(f"CancelTask {task_id} (it is {task['status']})")
            self._client.cancel_task(task_id, force=True)
        elif part is ARTICLE and task["status"] == "completed" and task_id not in self._handled:
            self._handled.add(task_id)
            content = self._article(task)
            view.say(f"GetContent {content['content_id']}: the article begins")
            show.beginning(view.console, content)
        elif task["status"] in {"failed", "timeout"}:
            self._expect(part is FAILS and task_id not in self._handled, f"{task_id} failed: {task['error']}")
            self._handled.add(task_id)
            view.say(f"RetryTask  {task_id} (it failed: {task['error'].partition(':')[0]})")
            self._client.retry_task(task_id)

    def _article(self, task: Document) -> Document:
        content = self._client.get_content(task["content_id"])
        if content is None:
            raise StackError("the article is not there", self._logs)
        return content

    def _all_workers(self) -> bool:
        return bool(self._client.get_worker_pool_status()["num_workers"] == WORKERS)

    def _sum_up(self) -> None:
        """Prints the last screen, of 24 lines by 80 characters, and checks what the demo was to show."""
        tasks = {self._tasks[task["task_id"]].topic: task for task in self._status()}
        lost_task = tasks[LOSES_ITS_WORKER.topic]
        restarted_may_run_it = lost_task["attempt"] > 2
        elsewhere = lost_task["worker_id"] != self._killed or restarted_may_run_it
        self._expect(lost_task["attempt"] > 1 and elsewhere, f"it was not run elsewhere: {lost_task}")
        self._expect(lost_task["retry_count"] == 0, f"the loss of a worker used a retry up: {lost_task}")
        content = self._article(tasks[ARTICLE.topic])
        pool = {entry["content_id"]: entry for entry in self._client.iter_publish_pool(ACCOUNT)}
        contents = list(self._client.iter_contents(ACCOUNT))
        titles = [entry["title"] for entry in contents if entry["review_status"] == "pending_review"]
        show.excerpt(self._out, content)
        show.contents(self._out, [{**entry, **pool.get(entry["content_id"], {})} for entry in contents])
        show.workers(self._out, self._client.get_worker_pool_status())
        self._out.print(
            f"killed {self._killed} at {KILLED_AT} %: {lost_task['task_id']} was completed\n"
            f"by {lost_task['worker_id']}, attempt {lost_task['attempt']}; no retry was used up",
            soft_wrap=True,
        )
        self._expect(titles == [REVIEWED.topic], "not just one content awaits its review")
        self._expect(len(pool) == len(PARTS) - 2, f"{len(pool)} entries in the publish pool")

    def _expect(self, condition: bool, otherwise: str) -> None:
        if not condition:
            raise StackError(otherwise, self._logs)


def _percent(task: Document) -> int:
    return int(task["progress"]["percent"]) if task["status"] == "processing" and task["progress"] else 0
