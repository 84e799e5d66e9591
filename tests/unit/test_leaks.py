"""What a test leaves behind is found."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from tests.harness.leaks import new_children

SLEEPER = [sys.executable, "-c", "input()"]


def start() -> subprocess.Popen[bytes]:
    return subprocess.Popen(SLEEPER, stdin=subprocess.PIPE)


def test_a_new_child_is_told_until_it_was_waited_for() -> None:
    with start():
        before = new_children()
        with ThreadPoolExecutor(1) as thread, thread.submit(start).result() as child:
            assert before() == {child.pid}
            child.kill()
            assert before() == {child.pid}
        assert before() == set()
