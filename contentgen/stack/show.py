"""How the demo looks: a live table on a terminal, plain lines without one, and what is printed at the end.

Layer: cli. Texts of tasks and contents are shown as they are, never read as markup.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Self

from rich import box
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from contentgen.cli.cells import STYLES

Document = Mapping[str, Any]

PLAIN_WIDTH = 120
_PLAIN: Mapping[str, Any] = {"box": None, "padding": (0, 2, 0, 0)}
"""A table without lines."""
_EXCERPT_LINES = 3
_EXCERPT_WIDTH = 80
_ID_TAIL = 8
"""The end of an id tells tasks and workers apart, and leaves space for the topic on 80 columns."""


def console() -> Console:
    terminal = Console(highlight=False, markup=False, emoji=False)
    if not terminal.is_terminal:
        terminal.width = PLAIN_WIDTH
    return terminal


class View:
    """Shows tasks while they move: on a terminal in a table that is redrawn, else by a line for each change."""

    def __init__(self, out: Console) -> None:
        self.console = out
        self._live = Live(console=out, auto_refresh=False) if out.is_terminal else None
        self._start = time.monotonic()
        self._seen: dict[str, tuple[str, int, str]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def say(self, text: str) -> None:
        if self._live:
            self.console.print(text, style="dim")
        else:
            self.console.print(f"{self._clock()}  {text}", soft_wrap=True)

    def show(self, tasks: Sequence[Document]) -> None:
        if self._live:
            self._live.start()
            self._live.update(_table(tasks), refresh=True)
            return
        for task in tasks:
            now = (task["status"], task["attempt"], _progress(task))
            if self._seen.get(task["task_id"]) != now:
                self._seen[task["task_id"]] = now
                error = f"  ({task['error']})" if task["status"] == "failed" else ""
                how_far = f"{_progress(task):<12}"
                line = f"{self._clock()}  {task['task_id']}  {task['status']:<10}  {how_far}  {task['topic']}{error}"
                self.console.print(line, soft_wrap=True)

    def _clock(self) -> str:
        return f"{time.monotonic() - self._start:5.1f} s"


def _table(tasks: Sequence[Document]) -> Table:
    table = Table("task", "prio", "status", "progress", "attempt", "worker", box=box.SIMPLE_HEAD, expand=True)
    table.add_column("topic", no_wrap=True, overflow="ellipsis", ratio=1)
    for task in tasks:
        table.add_row(
            f"…{task['task_id'][-_ID_TAIL:]}",
            str(task["priority"]),
            Text(task["status"], STYLES.get(task["status"], "")),
            _progress(task),
            str(task["attempt"] or ""),
            (task["worker_id"] or "")[-_ID_TAIL:],
            Text(task["topic"]),
        )
    return table


def _progress(task: Document) -> str:
    if task["status"] == "completed":
        return "100 %"
    progress = task["progress"] if task["status"] == "processing" else None
    return f"{progress['percent']} % {progress['step']}" if progress else ""


def excerpt(out: Console, content: Document) -> None:
    """Prints the title of a finished content, and how it begins."""
    out.print(
        f"\ncontent {content['content_id']}: {content['title']} ({content['word_count']} characters)", style="bold"
    )
    beginning(out, content)


def beginning(out: Console, content: Document) -> None:
    """Prints the first lines of a content's text."""
    width = min(out.width, _EXCERPT_WIDTH)
    text = " ".join(line for line in content["body"].splitlines() if line and line[0] not in "#!")
    lines = Text(text).wrap(out, width)
    for line in lines[:_EXCERPT_LINES]:
        out.print(line, soft_wrap=True)
    out.print("…")


def contents(out: Console, rows: Sequence[Document]) -> None:
    """Prints contents with where they are: in the publish pool, or on their way to a review."""
    table = Table("content", "priority", "status", "title", **_PLAIN)
    for row in rows:
        status = row.get("status") or row["review_status"]
        table.add_row(
            str(row["content_id"]),
            str(row.get("priority", "")),
            Text(status, STYLES.get(status, "")),
            Text(row["title"]),
        )
    out.print("publish pool, and what waits for a review", style="bold")
    out.print(table)


def workers(out: Console, pool: Document) -> None:
    table = Table("worker", "running", "busy slots", "slots", **_PLAIN)
    for worker in pool["worker_statuses"]:
        running = "yes" if worker["running"] else "no"
        table.add_row(worker["worker_id"], running, str(worker["busy_slots"]), str(worker["slots"]))
    heading = f"worker pool: {pool['num_workers']} workers, {pool['total_queue_size']} tasks pending"
    out.print(heading, style="bold")
    out.print(table)
