"""How far tasks are, while they are waited for: a live line each on a terminal, and a plain line a change without one.

It writes to standard error: standard output is for the result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bars
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from contentgen.cli import cells
from contentgen.cli.output import Document

_BAR = 24
_REFRESH_PER_SECOND = 8


@contextmanager
def counting(console: Console, what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Yields a bar that is moved by the number that is done; gone at the end, and never there without a terminal."""
    columns = TextColumn(what), BarColumn(), MofNCompleteColumn()
    with Bars(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        bar = bars.add_task("", total=total)
        yield lambda count: bars.update(bar, completed=count)


@contextmanager
def progress(console: Console) -> Iterator[Callable[[Sequence[Document]], None]]:
    """Shows tasks in live lines on a terminal, and in a line for each change of a task without one.

    Live lines are gone at the end, where the result follows, but not after Ctrl-C, when somebody may want to know the
    ids.
    """
    if not console.is_terminal:
        yield _changes(console)
        return
    with Live(console=console, refresh_per_second=_REFRESH_PER_SECOND) as live:
        yield lambda tasks: live.update(_grid(tasks))
        live.transient = True


def _changes(console: Console) -> Callable[[Sequence[Document]], None]:
    seen: dict[str, str] = {}

    def show(tasks: Sequence[Document]) -> None:
        for task in tasks:
            text = f"{task['task_id']}  {task['status']:<10}  {_said(task)}".rstrip()
            if seen.get(task["task_id"]) != text:
                seen[task["task_id"]] = text
                console.print(text, soft_wrap=True)

    return show


def _grid(tasks: Sequence[Document]) -> Table:
    grid = Table.grid(padding=(0, 2))
    for _ in range(4):
        grid.add_column(no_wrap=True)
    for task in tasks:
        grid.add_row(task["task_id"], cells.state(task["status"]), _bar(task), Text(_said(task)))
    return grid


def _bar(task: Document) -> ProgressBar:
    """Returns a bar that pulses while nobody knows how far the task is."""
    percent = 100 if task["status"] == "completed" else (task["progress"] or {}).get("percent", 0)
    return ProgressBar(total=100, completed=percent, width=_BAR, pulse=task["status"] == "processing" and not percent)


def _said(task: Document) -> str:
    """Describes a task by what matters most in its state."""
    if task["status"] == "pending":
        return f"after {cells.error(task)}" if task["error"] else ""
    if task["status"] == "processing":
        return cells.progress(task)
    if task["status"] == "completed":
        return f"content {task['content_id']}"
    return cells.error(task)
