"""How far tasks are, while they are waited for: a live line each on a terminal, and a plain line a change without one.

It writes to standard error: standard output is for the result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Self

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
    """A bar that is moved by the number that is done; gone at the end, and never there without a terminal."""
    columns = TextColumn(what), BarColumn(), MofNCompleteColumn()
    with Bars(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        bar = bars.add_task("", total=total)
        yield lambda count: bars.update(bar, completed=count)


def progress(console: Console) -> LiveProgress | PlainProgress:
    return LiveProgress(console) if console.is_terminal else PlainProgress(console)


class PlainProgress:
    def __init__(self, console: Console) -> None:
        self._to = console
        self._seen: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def show(self, tasks: Sequence[Document]) -> None:
        for task in tasks:
            text = f"{task['task_id']}  {task['status']:<10}  {_said(task)}".rstrip()
            if self._seen.get(task["task_id"]) != text:
                self._seen[task["task_id"]] = text
                self._to.print(text, soft_wrap=True)


class LiveProgress:
    """Shows all tasks in a few lines, drawn again and again. They are gone at the end, where the result follows,
    but not after Ctrl-C, when somebody may want to know the ids.
    """

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, refresh_per_second=_REFRESH_PER_SECOND)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._live.transient = kind is None
        self._live.stop()

    def show(self, tasks: Sequence[Document]) -> None:
        grid = Table.grid(padding=(0, 2))
        grid.add_column(no_wrap=True)
        grid.add_column(no_wrap=True)
        grid.add_column(no_wrap=True)
        grid.add_column(no_wrap=True, overflow="ellipsis")
        for task in tasks:
            grid.add_row(task["task_id"], cells.state(task["status"]), _bar(task), Text(_said(task)))
        self._live.update(grid)


def _bar(task: Document) -> ProgressBar:
    """It pulses while nobody knows how far the task is."""
    percent = 100 if task["status"] == "completed" else (task["progress"] or {}).get("percent", 0)
    return ProgressBar(total=100, completed=percent, width=_BAR, pulse=task["status"] == "processing" and not percent)


def _said(task: Document) -> str:
    """Describes a task by what matters most in its state."""
    if task["status"] == "pending":
        return f"after {cells.error(task)}" if task["error"] else ""
    if task["status"] == "processing":
        return f"{cells.progress(task)}  {cells.line((task['progress'] or {}).get('message'))}".strip()
    if task["status"] == "completed":
        return f"content {task['content_id']}"
    return cells.error(task)
