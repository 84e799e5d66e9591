"""Two cells behind one address, as docs/how-to/load-balancers.md has it: who calls one does not miss the other."""

from __future__ import annotations

import os
import re
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from contentgen import ContentGenerationClient, Unavailable
from tests.harness.process import installed
from tests.harness.processes import free_port
from tests.harness.proxies import HAPROXY_SETTINGS, running_haproxy
from tests.harness.stack import EMBEDDED, Stack
from tests.harness.waiting import wait_until

pytestmark = pytest.mark.e2e

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "load-balancers.md"
LIMIT = 30.0


@contextmanager
def one_address(folder: Path, ports: Mapping[int, int], moved: Mapping[int, int]) -> Iterator[str]:
    """Yields the target of HAProxy before cells at these ports; `moved` has the cells of accounts that have moved."""
    port, config, map_ = free_port(), folder / "haproxy.cfg", folder / "moved.map"
    map_.write_text("".join(f"{account_id} {cell}\n" for account_id, cell in moved.items()))
    [recipe] = re.findall(r"```haproxy\n(frontend cells\n.+?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    recipe = recipe.replace("/etc/haproxy/moved.map", str(map_)).replace("bind :50051", f"bind 127.0.0.1:{port}")
    for cell, upstream in ports.items():
        recipe = recipe.replace(f"10.0.{cell}.1:50051", f"127.0.0.1:{upstream}")
    config.write_text(f"defaults\n  mode http\n  timeout connect 5s\n  {HAPROXY_SETTINGS}\n{recipe}")
    yield from running_haproxy(config, port)


@contextmanager
def one_try(target: str, account_id: int) -> Iterator[ContentGenerationClient]:
    """A client that repeats no call."""
    with grpc.insecure_channel(target) as channel:
        yield ContentGenerationClient(channel=channel, account_id=account_id)


class Caller:
    """Calls about one account, one after the other; each has to succeed at once."""

    def __init__(self, target: str, account_id: int, over: threading.Event) -> None:
        self.account_id = account_id
        self.seconds: list[float] = []
        self._target = target
        self._over = over

    def run(self) -> None:
        with one_try(self._target, self.account_id) as client:
            task_id = client.submit_task(self.account_id, "a topic")
            while not self._over.wait(0.05):
                for call in (
                    lambda: client.submit_task(self.account_id, "a topic"),
                    lambda: client.get_task_status(task_id),
                    lambda: client.list_tasks(account_id=self.account_id),
                    lambda: client.get_task_stats(self.account_id),
                ):
                    began = time.monotonic()
                    assert call()
                    self.seconds.append(time.monotonic() - began)


@pytest.mark.costly("two deployments, one with a server of its own, which is killed and starts again", seconds=9)
def test_the_callers_of_a_cell_do_not_notice_that_another_is_killed(stack: Stack, tmp_path: Path) -> None:
    lost = stack.scheduler("lost", database_url=EMBEDDED, CONTENTGEN_CELL="1").start()
    other = stack.scheduler("other", CONTENTGEN_CELL="2").start()
    with ContentGenerationClient(lost.target) as one, ContentGenerationClient(other.target) as two:
        account_id, moved = (one.create_account(name)["account_id"] for name in ("one", "moved"))
        theirs = two.create_account("two")["account_id"]
        moved_task = one.submit_task(moved, "a topic")
        move(one, two, moved, tmp_path / "account.tar")
    worker = stack.quick_worker("worker", other).start()
    over = threading.Event()
    with (
        one_address(tmp_path, {1: lost.port, 2: other.port}, {moved: 2}) as target,
        ContentGenerationClient(target) as client,
        ThreadPoolExecutor() as executor,
    ):
        task_id = client.submit_task(account_id, "a topic")
        assert account_of(client, task_id) == account_id
        content_id = client.wait(client.submit_task(theirs, "a topic"), timeout=LIMIT)["content_id"]
        assert client.get_content(content_id) is not None
        assert client.get_task_status(moved_task) is None, "its old cell is asked, as the id says"
        assert shown(target, moved_task, moved) == 0
        callers = [Caller(target, of, over) for of in (theirs, moved)]
        running = [executor.submit(caller.run) for caller in callers]
        try:
            wait_called(callers, running, times=40)
            lost.kill_with_database()
            with pytest.raises(Unavailable), one_try(target, account_id) as impatient:
                impatient.get_task_status(task_id)
            wait_called(callers, running, times=40)
        finally:
            over.set()
        for future in running:
            future.result()
        lost.start()
        assert account_of(client, task_id) == account_id
        worker.stop()


def move(one: ContentGenerationClient, other: ContentGenerationClient, account_id: int, archive: Path) -> None:
    one.deactivate_account(account_id)
    one.export_account(account_id, archive)
    other.import_account(archive)
    other.update_account(account_id, active=True)
    while not one.erase_account(account_id)["done"]:
        pass


def account_of(client: ContentGenerationClient, task_id: str) -> int | None:
    task = client.get_task_status(task_id)
    return task and task["account_id"]


def shown(target: str, task_id: str, account_id: int) -> int:
    """The exit status of the command that shows a task of an account."""
    environment = os.environ | {"CONTENTGEN_SCHEDULER": target, "CONTENTGEN_ACCOUNT": str(account_id)}
    return subprocess.run([installed("contentgen"), "task", "status", task_id], env=environment, check=False).returncode


def wait_called(callers: list[Caller], running: list[Future[None]], times: int) -> None:
    """Until each has made so many further calls, without a failure."""
    before = [len(caller.seconds) for caller in callers]

    def called() -> bool:
        for future in running:
            assert not future.done(), future.exception()
        return all(len(caller.seconds) > n + times for caller, n in zip(callers, before, strict=True))

    wait_until(called, within=LIMIT, what="the other cell's callers go on")
