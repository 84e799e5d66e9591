"""`contentgen` as people and scripts run it, beside real services."""

from __future__ import annotations

import os
import re
import subprocess

import pytest

from tests.e2e.operator import PATIENCE_S, Operator
from tests.harness.client import request
from tests.harness.process import installed
from tests.harness.stack import Scheduler, Stack

COMMAND = installed("contentgen")
TASK = re.compile(r"task-[0-9a-f]{16}")
COLOUR = re.compile(r"\x1b\[[0-9;]*[39][0-7]m")
NOBODY = "127.0.0.1:1"


@pytest.fixture
def scheduler(stack: Stack) -> Scheduler:
    """With account 1, and one worker."""
    scheduler = stack.scheduler().start()
    scheduler.client.create_account()
    stack.worker("a", scheduler, CREATOR_DEMO_SECONDS="0.5").start()
    return scheduler


def run(target: str, *arguments: str, **variables: str) -> tuple[int, str, str]:
    """Exit status, standard output and standard error, in pipes."""
    with Operator(target, *arguments, variables=variables) as operator:
        status, err = operator.ended()
        return status, operator.output, err


def test_a_task_from_submit_to_article(scheduler: Scheduler) -> None:
    slow = ("--creator-option", "demo-seconds=2")
    status, out, err = run(scheduler.target, "task", "submit", "-a", "1", "人工智能的未来发展", "--wait", *slow)
    assert status == 0, err
    assert "processing" in err
    assert "\x1b" not in out + err
    status, article, _ = run(scheduler.target, "content", "show", "1")
    assert (status, "# 人工智能的未来发展" in article) == (0, True)
    status, out, _ = run(
        scheduler.target,
        "task",
        "submit",
        "-a",
        "1",
        "It fails",
        "--no-auto-retry",
        "--creator-option",
        "demo-fail=exit",
        "--wait",
    )
    assert (status, "CREATOR_ERROR" in out) == (1, True)
    status, out, _ = run(scheduler.target, "doctor")
    assert status == 0, out
    assert "warn" not in out


def test_top_is_live_and_coloured_on_a_terminal(scheduler: Scheduler) -> None:
    submit = ("task", "submit", "-a", "1", "a topic", "--creator-option", "demo-seconds=60", "--wait")
    with Operator(scheduler.target, *submit, terminal=True) as waits:
        waits.wait_for("processing")
        with Operator(scheduler.target, "top", "-i", "0.2", terminal=True) as top:
            top.wait_for("1 processing")
            assert COLOUR.search(top.output)
            top.interrupt()
            assert top.ended()[0] == 130
        with Operator(scheduler.target, "top", "-i", "0.2", terminal=True, variables={"NO_COLOR": "1"}) as top:
            top.wait_for("1 processing")
            assert not COLOUR.search(top.output)
        waits.interrupt()
        assert waits.ended()[0] == 130
        assert "Traceback" not in waits.output
        assert "Abort" not in waits.output
    (task_id,) = set(TASK.findall(waits.output))
    assert run(scheduler.target, "task", "cancel", "--force", task_id)[0] == 0


def test_a_wait_outlives_its_scheduler(stack: Stack, scheduler: Scheduler) -> None:
    task_id = scheduler.client.submit(1, options={"demo-seconds": "3"})
    with Operator(scheduler.target, "-o", "jsonl", "task", "wait", task_id, terminal=True) as waits:
        waits.wait_for("processing")
        scheduler.kill()
        scheduler.start()
        status, _ = waits.ended()
    assert (status, '"status": "completed"' in waits.output) == (0, True)


def test_ctrl_c_is_quiet(scheduler: Scheduler) -> None:
    task_id = scheduler.client.submit(1, options={"demo-seconds": "60"})
    with Operator(scheduler.target, "-o", "jsonl", "top", "-i", "0.2") as top:
        top.wait_for(task_id)
        top.interrupt()
        assert top.ended() == (130, "")
    assert run(scheduler.target, "task", "cancel", "--force", task_id)[0] == 0


def test_a_closed_pipe_ends_the_command_silently(scheduler: Scheduler) -> None:
    for _ in range(3):
        scheduler.client.submit_all([request(1)] * 1_000)
    command = f"{COMMAND} -s {scheduler.target} -o jsonl task list | head -n 1; exit ${{PIPESTATUS[0]}}"
    ended = subprocess.run(["bash", "-c", command], capture_output=True, check=False, timeout=PATIENCE_S)
    assert (ended.returncode, ended.stdout.count(b"\n"), ended.stderr) == (141, 1, b"")


def test_an_unreachable_scheduler_is_one_line() -> None:
    status, out, err = run(NOBODY, "task", "list")
    assert (status, out, err.count("\n")) == (4, "", 1)
    assert err.startswith(f"contentgen: cannot reach the scheduler at {NOBODY} (Connection refused): ")


def test_the_shell_completes_commands_and_values() -> None:
    def completed(words: str, number: int) -> list[str]:
        environment = {
            "PATH": os.environ["PATH"],
            "_CONTENTGEN_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": str(number),
        }
        ended = subprocess.run(
            [COMMAND], env=environment, capture_output=True, text=True, check=True, timeout=PATIENCE_S
        )
        return ended.stdout.split()

    assert {"submit", "status", "list", "watch"} <= set(completed("contentgen task ", 2))
    assert completed("contentgen --output js", 2) == ["json", "jsonl"]


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_whatever_the_terminal_can_show(scheduler: Scheduler, encoding: str) -> None:
    scheduler.client.submit(1, "人工智能")
    status, out, err = run(scheduler.target, "-o", "json", "task", "list", PYTHONIOENCODING=encoding)
    assert (status, err) == (0, "")
    assert ("人工智能" in out) == (encoding == "utf-8")
    assert ("\\u4eba" in out) == (encoding == "ascii")
    status, out, err = run(scheduler.target, "task", "list", PYTHONIOENCODING=encoding)
    assert (status, err) == (0, "")
