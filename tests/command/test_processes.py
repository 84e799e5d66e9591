"""`contentgen` as people and scripts run it, beside real services."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import signal
import struct
import sys
import termios
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import NamedTuple, Self

import pytest

from tests.harness.client import Client, request
from tests.harness.cluster import Databases
from tests.harness.process import installed, run_to_end, started
from tests.harness.replicas import SharedScheduler, started_shared_scheduler
from tests.harness.stack import Stack, running_stack
from tests.harness.waiting import PATIENCE_S, wait_until

pytestmark = pytest.mark.e2e


# `contentgen` as a process: on a terminal or in pipes, with what it writes read as it comes.


_SIZE = struct.pack("HHHH", 24, 80, 0, 0)  # lines, columns


class Operator:
    """One run of the command; leaving it kills what is left."""

    def __init__(
        self,
        target: str,
        *arguments: str,
        terminal: bool = False,
        keyboard: bool = False,
        variables: Mapping[str, str] | None = None,
        program: Sequence[str | Path] = (Path(sys.executable).with_name("contentgen"),),
    ) -> None:
        """`keyboard`: whether its terminal is its input too, for `type`; `program`: what is run instead."""
        self._output = bytearray()
        read, write = pty.openpty() if terminal else os.pipe()
        if terminal:
            fcntl.ioctl(write, termios.TIOCSWINSZ, _SIZE)
        self._errors = TemporaryFile()  # noqa: SIM115 - closed where the block is left
        environment = {
            "PATH": os.environ["PATH"],
            "TERM": "xterm-256color",
            "CONTENTGEN_SCHEDULER": target,
            **(variables or {}),
        }
        self._process = started(
            [*program, *arguments],
            environment,
            out=write,
            errors=write if terminal else self._errors.fileno(),
            keyboard=write if keyboard else None,
        )
        self._keyboard = os.dup(read) if keyboard else None
        os.close(write)
        self._reader = threading.Thread(target=self._read, args=(read,))
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(PATIENCE_S)
        self._errors.close()
        if self._keyboard is not None:
            os.close(self._keyboard)
        self._reader.join(PATIENCE_S)

    def type(self, text: str) -> None:
        """What somebody types."""
        assert self._keyboard is not None
        os.write(self._keyboard, text.encode())

    def _read(self, descriptor: int) -> None:
        with open(descriptor, "rb", buffering=0) as stream:
            while chunk := _next(stream.fileno()):
                self._output += chunk

    @property
    def output(self) -> str:
        """Standard output so far, and on a terminal standard error too."""
        return self._output.decode(errors="replace")

    def wait_for(self, text: str) -> None:
        """Until that is written."""
        wait_until(lambda: text in self.output, within=PATIENCE_S, what=f"contentgen writes {text!r}")

    def interrupt(self) -> None:
        """What Ctrl-C does."""
        self._process.send_signal(signal.SIGINT)

    def ended(self) -> tuple[int, str]:
        """Its exit status and, in pipes, what it wrote to standard error."""
        status = self._process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        self._errors.seek(0)
        return status, self._errors.read().decode()


def _next(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 1 << 16)
    except OSError:  # a terminal whose other side is closed
        return b""


# `contentgen` as people and scripts run it, beside real services.


COMMAND = installed("contentgen")
TASK = re.compile(r"task-[0-9a-f]{16}")
COLOUR = re.compile(r"\x1b\[[0-9;]*[39][0-7]m")
NOBODY = "127.0.0.1:1"


class Served(NamedTuple):
    """A scheduler with account 1, and a client of it."""

    target: str
    client: Client


@pytest.fixture(scope="module")
def shared(databases: Databases, template: str) -> Iterator[SharedScheduler]:
    with started_shared_scheduler(databases, template) as scheduler:
        yield scheduler


@pytest.fixture
def idle(shared: SharedScheduler) -> Iterator[Served]:
    """Beside no worker."""
    client = Client(shared.target)
    client.create_account()
    yield Served(shared.target, client)
    client.close()
    shared.clear()


@pytest.fixture
def scheduler(idle: Served, shared: SharedScheduler) -> Iterator[Served]:
    """Beside a worker of the test's own."""
    with running_stack(shared.db_url) as stack:
        stack.worker("a", shared.target, CREATOR_DEMO_SECONDS="0.5").start()
        yield idle


def run(target: str, *arguments: str, **variables: str) -> tuple[int, str, str]:
    """Exit status, standard output and standard error, in pipes."""
    environment = {"PATH": os.environ["PATH"], "CONTENTGEN_SCHEDULER": target, **variables}
    ran = run_to_end([COMMAND, *arguments], environment, within=PATIENCE_S)
    return ran.returncode, ran.stdout, ran.stderr


def test_a_task_from_submit_to_article(scheduler: Served) -> None:
    slow = ("--creator-option", "demo-seconds=2")
    status, out, err = run(scheduler.target, "task", "submit", "-a", "1", "人工智能的未来发展", "--wait", *slow)
    assert status == 0, err
    assert "processing" in err
    assert "\x1b" not in out + err
    (content,) = scheduler.client.contents()
    status, article, _ = run(scheduler.target, "content", "show", str(content.content_id))
    assert (status, "# 人工智能的未来发展" in article) == (0, True)
    fails = ("--no-auto-retry", "--creator-option", "demo-fail=exit")
    status, out, _ = run(scheduler.target, "task", "submit", "-a", "1", "It fails", *fails, "--wait")
    assert (status, "CREATOR_ERROR" in out) == (1, True)
    (failed,) = set(TASK.findall(out))
    status, out, _ = run(scheduler.target, "task", "logs", failed)
    assert (status, "demo creator: told to fail\n    Error: the model said no\n" in out) == (0, True)
    status, out, _ = run(scheduler.target, "doctor")
    assert status == 0, out
    assert "warn" not in out


def test_top_is_live_and_coloured_on_a_terminal(scheduler: Served) -> None:
    submit = ("task", "submit", "-a", "1", "a topic", "--creator-option", "demo-seconds=60", "--wait")
    with Operator(scheduler.target, *submit, terminal=True) as waits:
        waits.wait_for("processing")
        with Operator(scheduler.target, "top", "-i", "0.2", terminal=True, variables={"NO_COLOR": "1"}) as top:
            top.wait_for("1 processing")
            assert not COLOUR.search(top.output)
            top.interrupt()
            assert top.ended()[0] == 130
        with Operator(scheduler.target, "top", "-i", "1h", terminal=True, keyboard=True) as top:
            top.wait_for("q ends it")
            top.wait_for("1 processing")
            assert COLOUR.search(top.output)
            for keys, shown in (
                ("2", "SCHEDULER"),
                ("?", "another view"),
                ("p", "workers  paused"),
                ("\x1b[C", "articles"),
            ):
                top.type(keys)
                top.wait_for(shown)
            top.type("q")
            assert top.ended()[0] == 0
        with Operator(scheduler.target, "-o", "jsonl", "top", "-i", "0.2") as top:
            top.wait_for('"status": "processing"')
            top.interrupt()
            assert top.ended() == (130, ""), "Ctrl-C is quiet"
        waits.interrupt()
        assert waits.ended()[0] == 130
        assert "Traceback" not in waits.output
        assert "Abort" not in waits.output
    (task_id,) = set(TASK.findall(waits.output))
    assert run(scheduler.target, "task", "cancel", "--force", task_id)[0] == 0


def test_a_wait_outlives_its_scheduler(stack: Stack) -> None:
    scheduler = stack.scheduler().start()
    task_id = scheduler.client.submit(scheduler.client.create_account(), options={"demo-seconds": "3"})
    with Operator(scheduler.target, "-o", "jsonl", "task", "wait", task_id, terminal=True) as waits:
        waits.wait_for("pending")
        stack.worker("a", scheduler).start()
        waits.wait_for("processing")
        scheduler.kill()
        scheduler.start()
        status, _ = waits.ended()
    assert (status, '"status": "completed"' in waits.output) == (0, True)


def test_what_costs_money_or_deletes_in_bulk_is_asked_on_a_terminal(scheduler: Served, tmp_path: Path) -> None:
    rows = tmp_path / "topics.csv"
    rows.write_text("topic\nSpring\nSummer\n")
    submit = ("task", "submit", "-a", "1", "--no-auto-retry", "--creator-option", "demo-fail=exit", "-f", str(rows))
    with Operator(scheduler.target, *submit, terminal=True, keyboard=True) as asks:
        asks.wait_for("Submit 2 tasks? [y/N]")
        asks.type("\n")
        assert asks.ended()[0] == 1
        assert "nothing was done" in asks.output
    assert json.loads(run(scheduler.target, "-o", "json", "task", "list")[1]) == []
    with Operator(scheduler.target, *submit, "--yes", terminal=True, keyboard=True) as submits:
        assert submits.ended()[0] == 0
        assert "submitted 2 of 2 rows" in submits.output
        assert "[y/N]" not in submits.output
    tasks = [task["task_id"] for task in json.loads(run(scheduler.target, "-o", "json", "task", "list")[1])]
    assert run(scheduler.target, "task", "wait", *tasks)[0] == 1
    for command, question in (
        (("task", "retry", "--all"), "Run 2 tasks again? [y/N]"),
        (("content", "delete", "1", "2"), "Delete 2 contents for good? [y/N]"),
    ):
        with Operator(scheduler.target, *command, terminal=True, keyboard=True) as asks:
            asks.wait_for(question)
            asks.type("no\n")
            assert asks.ended()[0] == 1
    with Operator(scheduler.target, "task", "cleanup", "--days", "0", terminal=True, keyboard=True) as asks:
        asks.wait_for("ended more than 0 days ago")
        asks.type("y\n")
        assert asks.ended()[0] == 0
        assert "deleted: 2" in asks.output


def test_contents_are_reviewed_one_by_one(scheduler: Served) -> None:
    tasks = [scheduler.client.submit(1, topic, auto_approve=False) for topic in ("Good", "Bad", "Unread")]
    content_ids = [scheduler.client.wait_completed(task_id, within=PATIENCE_S).content_id for task_id in tasks]
    good, bad, unread = map(str, content_ids)
    pager = {"PAGER": "cat"}
    with Operator(
        scheduler.target, "content", "review", good, bad, unread, terminal=True, keyboard=True, variables=pager
    ) as review:
        review.wait_for("(q)uit")
        assert "Good" in review.output
        review.type("v")
        wait_until(lambda: review.output.count("(q)uit") == 2, within=PATIENCE_S, what="it is shown again")
        review.type("a")
        review.wait_for("comment")
        review.type("well done\n")
        review.wait_for(f"content {good} is approved and in the publish pool")
        wait_until(lambda: review.output.count("(q)uit") == 3, within=PATIENCE_S, what="the second is shown")
        review.type("x")  # no key of its
        wait_until(lambda: review.output.count("(q)uit") == 4, within=PATIENCE_S, what="it asks again")
        review.type("r")
        wait_until(lambda: review.output.count("comment") == 2, within=PATIENCE_S, what="it asks for a comment")
        review.type("\n")
        review.wait_for(f"content {bad} is rejected")
        wait_until(lambda: review.output.count("(q)uit") == 5, within=PATIENCE_S, what="the third is shown")
        review.type("q")
        assert review.ended()[0] == 0
    contents = json.loads(run(scheduler.target, "-o", "json", "content", "list")[1])
    statuses = {content["content_id"]: content["review_status"] for content in contents}
    assert statuses == dict(zip(content_ids, ("approved", "rejected", "pending_review"), strict=True))
    reviewed_content = json.loads(run(scheduler.target, "-o", "json", "content", "show", good)[1])
    assert reviewed_content["review_comment"] == "well done"
    with Operator(scheduler.target, "content", "review", terminal=True, keyboard=True, variables=pager) as review:
        review.wait_for("(q)uit")
        review.type("s")
        assert review.ended()[0] == 0


def test_a_content_is_edited_in_an_editor(scheduler: Served) -> None:
    task_id = scheduler.client.submit(1, "A draft")
    assert run(scheduler.target, "task", "wait", task_id)[0] == 0
    (content,) = scheduler.client.contents(task_id)
    edit = ("content", "edit", str(content.content_id))
    for editor, message, status in (
        ("true", "nothing is changed", 0),
        ("sed -i 1s/^/Corrected:/", f"content {content.content_id} is at revision 2", 0),
        ("false", "the text is in ", 1),
    ):
        with Operator(
            scheduler.target, *edit, terminal=True, keyboard=True, variables={"VISUAL": "", "EDITOR": editor}
        ) as edits:
            assert edits.ended()[0] == status
            assert message in edits.output
    assert scheduler.client.content(content.content_id).body.startswith("Corrected:")


def test_a_closed_pipe_ends_the_command_silently(idle: Served) -> None:
    idle.client.submit_all([request(1)] * 300)  # more than a pipe holds
    command = f"{COMMAND} -s {idle.target} -o jsonl task list | head -n 1; exit ${{PIPESTATUS[0]}}"
    ended = run_to_end(["bash", "-c", command], within=PATIENCE_S)
    assert (ended.returncode, ended.stdout.count("\n"), ended.stderr) == (141, 1, "")


def test_the_shell_completes_commands_and_values(scheduler: Served) -> None:
    environment = {"PATH": os.environ["PATH"], "CONTENTGEN_SCHEDULER": scheduler.target, "CONTENTGEN_SLOT": ""}

    def completed(words: str, number: int) -> list[str]:
        variables = {"_CONTENTGEN_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(number)}
        ended = run_to_end([COMMAND], environment | variables, within=PATIENCE_S)
        assert (ended.returncode, ended.stderr) == (0, "")
        return ended.stdout.split()

    assert {"submit", "status", "list", "watch"} <= set(completed("contentgen task ", 2))
    assert completed("contentgen --output js", 2) == ["json", "jsonl"]
    assert completed("contentgen task list --status failed,c", 4) == ["failed,completed", "failed,cancelled"]
    task_id = scheduler.client.submit(1)
    assert completed("contentgen task status t", 3) == [task_id]
    assert completed("contentgen worker drain ", 3) == ["a"]
    assert completed(f"contentgen --scheduler {NOBODY} worker drain ", 5) == []
    assert completed("contentgen task list --account ", 4) == ["1"]
    environment["CONTENTGEN_SCHEDULER"] = NOBODY
    assert completed("contentgen worker drain ", 3) == []


@pytest.mark.parametrize("arguments", ["--version", "context list", "task list"])
def test_a_variable_that_is_none_of_ours_is_named(arguments: str) -> None:
    """Else a misspelled CONTENTGEN_SCHEDULER would have the command write to another one."""
    _, _, err = run(NOBODY, *arguments.split(), CONTENTGEN_SCHEDULR="scheduler-2:50051")
    assert err.startswith("note: CONTENTGEN_SCHEDULR is no setting, and is ignored: did you mean CONTENTGEN_SCHEDULER?")


def test_whatever_the_terminal_can_show(idle: Served) -> None:
    idle.client.submit(1, "人工智能")
    narrow = {"PYTHONIOENCODING": "ascii"}
    for variables, expected, unexpected in ((narrow, "\\u4eba", "人工智能"), ({}, "人工智能", "\\u4eba")):
        status, out, err = run(idle.target, "-o", "json", "task", "list", **variables)
        assert (status, expected in out, unexpected in out, err) == (0, True, False, "")
        status, _, err = run(idle.target, "task", "list", **variables)
        assert (status, err) == (0, "")
