"""How the demo looks on a terminal; the plain lines are looked at where the demo is run."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from rich.console import Console

from contentgen.stack import show

pytestmark = pytest.mark.unit

CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Console:
    """A terminal whose screen is a text."""
    monkeypatch.setenv("TERM", "xterm")
    out = io.StringIO()
    return Console(file=out, force_terminal=True, width=100, height=30, highlight=False, markup=False, emoji=False)


def written(terminal: Console) -> str:
    """All that was written on it, without colours and moves of the cursor."""
    assert isinstance(terminal.file, io.StringIO)
    return CONTROL.sub("", terminal.file.getvalue())


def last_rows(terminal: Console) -> list[list[str]]:
    """The words of each row of the table as it was drawn last."""
    _, _, table = written(terminal).rpartition("topic")
    return [line.split() for line in table.splitlines() if line.strip().startswith("…")]


def task(number: int, status: str, topic: str, **other: Any) -> dict[str, Any]:
    """A document with what the table shows."""
    plain = {"priority": 5, "progress": None, "attempt": 0, "worker_id": None}
    return {"task_id": f"task-01{number:08}", "status": status, "topic": topic, **plain, **other}


def test_the_live_table_names_each_task_and_its_state(terminal: Console) -> None:
    runs = {"attempt": 1, "worker_id": "worker-1"}
    with show.View(terminal) as view:
        view.say("SubmitTask task-0100000001")
        view.show(
            [
                task(1, "processing", "人工智能的未来发展", progress={"percent": 40, "step": "writing"}, **runs),
                task(2, "pending", "[red]Tea"),
            ]
        )
        assert last_rows(terminal) == [
            ["…00000001", "5", "processing", "40", "%", "writing", "1", "worker-1", "人工智能的未来发展"],
            ["…00000002", "5", "pending", "[red]Tea"],
        ]
        view.show([task(1, "completed", "人工智能的未来发展", **runs), task(2, "cancelled", "[red]Tea")])
    assert last_rows(terminal) == [
        ["…00000001", "5", "completed", "100", "%", "1", "worker-1", "人工智能的未来发展"],
        ["…00000002", "5", "cancelled", "[red]Tea"],
    ]
    assert "SubmitTask task-0100000001" in written(terminal)


def test_the_live_table_is_drawn_in_its_own_place(terminal: Console) -> None:
    with show.View(terminal) as view:
        view.show([task(1, "pending", "Tea")])
        view.show([task(1, "completed", "Tea")])
    assert isinstance(terminal.file, io.StringIO)
    assert "\x1b[1A" in terminal.file.getvalue(), "the cursor goes up, over the table before"


def test_an_article_stays_above_the_live_table(terminal: Console) -> None:
    with show.View(terminal) as view:
        view.show([task(1, "processing", "Tea")])
        show.beginning(view.console, {"body": "# Tea\n\nPour hot water."})
        view.show([task(1, "completed", "Tea")])
    assert written(terminal).count("Pour hot water.") == 1
    assert [row[2] for row in last_rows(terminal)] == ["completed"]


def test_of_an_article_the_first_lines_are_shown(terminal: Console) -> None:
    body = "# Tea\n\n![Tea](tea.png)\n\nPour hot water.\n" + "And wait. " * 100
    show.excerpt(terminal, {"content_id": 7, "title": "Tea", "word_count": 1030, "body": body})
    heading, *lines, more = written(terminal).split("\n")[1:-1]
    assert heading == "content 7: Tea (1030 characters)"
    assert lines[0].startswith("Pour hot water. And wait.")
    assert all(len(line) <= 80 for line in lines)
    assert (len(lines), more) == (3, "…")
