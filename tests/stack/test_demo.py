"""`make demo` and `make run` as they are called: `contentgen demo` and `contentgen dev`, without a terminal."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from rich.cells import cell_len

from contentgen.client import ContentGenerationClient
from contentgen.stack.processes import Interrupts, StackError
from contentgen.stack.services import Stack, environment, throwaway_folder
from scheduler_svc.postgres.folders import socket_folder
from scheduler_svc.postgres.programs import server_user_for
from tests.harness.cluster import server_folder
from tests.harness.console import Visitor
from tests.harness.process import Process
from tests.harness.processes import belonging_to, children, moment
from tests.harness.waiting import PATIENCE_S, wait_until, wait_until_gone
from worker_svc.guard.process import procfs

pytestmark = pytest.mark.e2e

PROMISED_S = 60
"""Within which the demo ends, set up already, with other tests beside it; alone it takes a third of that."""
FOLDER = re.compile(r"workers in (/\S+)")
CONSOLE = re.compile(r"^console +(http://\S+)/$", re.MULTILINE)
ADDRESS = re.compile(r"^scheduler +(\S+),", re.MULTILINE)


class Command(Process):
    """One run of the command, started at once, with all that it makes in a folder of its own."""

    def __init__(self, command: str, folder: Path, **settings: str) -> None:
        self._folder, self._start = folder, moment()
        environment = {"PATH": os.environ["PATH"], "PYTHONUNBUFFERED": "1", "TMPDIR": str(folder), **settings}
        program = str(Path(sys.executable).with_name("contentgen"))
        super().__init__(command, [program, command], folder / "err", environment, out=folder / "out", cwd=Path.cwd())
        self.launch()

    def printed(self, pattern: re.Pattern[str]) -> str:
        """The first group of `pattern`, once it is printed."""
        wait_until(
            lambda: pattern.search(self.out) or not self.alive, within=PATIENCE_S, what=f"prints {pattern.pattern}"
        )
        match = pattern.search(self.out)
        assert match, self.text()
        return match[1]

    def family(self) -> list[psutil.Process]:
        """It, all processes that it started, and that these started."""
        return belonging_to(self._folder, self._start)

    def ended(self, within: float = PATIENCE_S, status: int = 0) -> None:
        """Waits for its end; all that it started is gone with it."""
        super().ended(within, status)
        wait_until_gone(self.family, within=PATIENCE_S, what="nothing is left running")

    def kill(self) -> None:
        """For a test that failed."""
        for process in self.family():
            process.kill()
        self.popen.wait(10)


@pytest.fixture
def start() -> Iterator[Callable[..., Command]]:
    """Starts the command; what a failed test leaves of it is ended."""
    started: list[Command] = []
    with tempfile.TemporaryDirectory() as root:  # `server_folder` has too long a name for sockets below it
        Path(root).chmod(0o711)

        def start(command: str, **settings: str) -> Command:
            folder = Path(root, str(len(started)))
            folder.mkdir()
            started.append(Command(command, folder, **settings))
            return started[-1]

        yield start
        for command in started:
            command.kill()


@pytest.mark.costly("all services start", seconds=7)
def test_the_demo_shows_an_article_and_leaves_nothing(start: Callable[..., Command]) -> None:
    demo = start("demo", DATABASE_URL="postgresql://nobody@127.0.0.1:1/none")  # a setting for other stacks
    demo.ended(within=PROMISED_S)
    assert not Path(demo.printed(FOLDER)).exists()
    out = demo.out
    assert re.search(r"^content \d: 人工智能的未来发展 \(\d+ characters\)$", out, re.MULTILINE)
    assert re.search(r"GetContent \d: the article begins\n\w.+\n", out[: out.index("\ncontent ")])
    assert_it_lost_a_worker(out)
    summary = out[out.index("\ncontent ") :]
    assert len(summary.splitlines()) <= 24
    assert all(cell_len(line.rstrip()) <= 80 for line in summary.splitlines())
    assert last_status_after("RetryTask", out) == "completed"
    assert last_status_after("CancelTask", out) == "cancelled"
    assert re.search(r"^\d +8 +pending +人工智能的未来发展", out, re.MULTILINE)
    assert re.search(r"pending_review +春天的第一杯咖啡", out)
    assert "2 workers, 0 tasks pending" in out
    assert demo.text() == ""


def assert_it_lost_a_worker(out: str) -> None:
    """The task whose worker was killed midway had moved on, and came back on the other one."""
    [(worker, task_id, later)] = re.findall(r"kill -9 +(\S+), which runs (task-\w+)\n(.*)", out, re.DOTALL)
    assert re.search(rf"{task_id}  processing +40 %", out)
    [elsewhere] = re.findall(rf"attempt 2  of {task_id} is on (\S+)", later)
    assert elsewhere != worker
    [(last, attempt)] = re.findall(r"by (\S+), attempt (\d); no retry was used up", later)
    assert (last, attempt) == (elsewhere, "2") or attempt > "2", "a slow machine may lose that attempt, too"


def last_status_after(call: str, out: str) -> str:
    """What was shown last of the only task for which `call` was made."""
    [(task_id, later)] = re.findall(rf" s  {call} +(task-\w+) \(it (.*)", out, re.DOTALL)
    return str(re.findall(rf"{task_id}  (\w+)", later)[-1])


def test_an_interrupted_demo_stops_everything(start: Callable[..., Command]) -> None:
    """Soon: the end of all services after Ctrl-C is shown by the stack that stays up."""
    demo = start("demo")
    folder = Path(demo.printed(FOLDER))
    log = folder / "logs" / "scheduler.log"
    wait_until(log.exists, within=PATIENCE_S, what="the demo starts its scheduler")
    demo.signal(signal.SIGINT)
    demo.ended(status=130)
    assert not folder.exists()


@pytest.mark.costly("all services start", seconds=3)
def test_a_stack_names_the_service_that_has_ended_and_keeps_its_log() -> None:
    with (
        pytest.raises(StackError, match="the scheduler has ended with status -9") as failed,
        throwaway_folder("test") as folder,
    ):
        _lose_worker_and_scheduler(folder)
    assert failed.value.log == folder / "logs" / "scheduler.log"
    assert failed.value.log.stat().st_size > 0
    wait_until_gone(lambda: belonging_to(folder), within=PATIENCE_S, what="nothing is left running")
    assert [path.name for path in folder.iterdir()] == ["logs"]
    assert not _socket_folder(folder).exists()
    shutil.rmtree(folder)


def _lose_worker_and_scheduler(folder: Path) -> None:
    logs = folder / "logs"
    with Stack(environment(folder), logs, 1, Interrupts()) as stack, ContentGenerationClient(stack.target) as client:
        client.create_account("before")
        _kill(logs / "worker-1.log")
        with pytest.raises(StackError, match="the worker-1 has ended with status -9") as failed:
            stack.until(lambda: None, within=PATIENCE_S, what="something else")
        assert failed.value.log == logs / "worker-1.log"
        _kill(logs / "scheduler.log")
        client.create_account("after")


def _kill(log: Path) -> None:
    """The process of this one that writes this log."""
    [service] = [process for process in children(os.getpid()) if _writes(process, log)]
    service.kill()
    wait_until(lambda: (left := procfs.read(service.pid)) and left.dead, within=PATIENCE_S, what="it can be reaped")


def _socket_folder(folder: Path) -> Path:
    """Where the demo's PostgreSQL would have its socket if it were not told of a place of its own."""
    root = folder / "data" / "postgres"
    return socket_folder(root, server_user_for(root))


def _writes(process: psutil.Process, log: Path) -> bool:
    return os.path.realpath(f"/proc/{process.pid}/fd/2") == str(log)


@pytest.mark.costly("all services start twice", seconds=9)
def test_run_keeps_its_data_and_starts_a_killed_worker_again(start: Callable[..., Command]) -> None:
    with server_folder() as data:
        settings = {
            "CONTENTGEN_DATA_DIR": str(data / "data"),
            "CONTENTGEN_LISTEN": "127.0.0.1:0",
            "CONTENTGEN_CONSOLE_LISTEN": "127.0.0.1:0",
        }
        first = start("dev", CREATOR_DEMO_SECONDS="0.1", **settings)
        with ContentGenerationClient(first.printed(ADDRESS)) as client:
            task_id = client.submit_task(1, "what is kept")
            assert client.wait(task_id, PATIENCE_S, check=True)["status"] == "completed"
        assert "what is kept" in Visitor(first.printed(CONSOLE)).get("/tasks").text
        first.signal(signal.SIGINT)
        first.ended()
        assert "made account 1" in first.out
        assert "the demo creator" in first.out
        again = start("dev", **settings)
        with ContentGenerationClient(again.printed(ADDRESS)) as client:
            status = client.get_task_status(task_id)
            assert status is not None
            assert status["status"] == "completed"
            assert [account["account_id"] for account in client.iter_accounts()] == [1]
            _kill_a_worker(again, data / "data" / "logs")
            after = client.submit_task(1, "what comes afterwards")
            assert client.wait(after, PATIENCE_S, check=True)["status"] == "completed"
        again.signal(signal.SIGTERM)
        again.ended()
        assert "made account" not in again.out


def _kill_a_worker(run: Command, logs: Path) -> None:
    """Returns once it is back; nothing else falls."""
    log = logs / "worker-1.log"
    [victim] = _services(run, log)
    others = [_services(run, logs / f"{name}.log") for name in ("worker-2", "scheduler", "console")]
    victim.kill()
    former = run.printed(re.compile(r"the worker-1 has ended with status -9; it is started again.* (\S+)"))
    wait_until(
        lambda: _services(run, log) not in ([], [victim]) and "session.opened" in log.read_text(),
        within=PATIENCE_S,
        what="the worker is connected again",
    )
    assert Path(former).exists()
    assert all(other.is_running() for [other] in others)


def _services(run: Command, log: Path) -> list[psutil.Process]:
    """The process of the service that writes this log, if it runs."""
    return [process for process in run.family() if _writes(process, log) and process.ppid() == run.pid]


def test_run_says_what_is_wrong_with_its_settings(start: Callable[..., Command]) -> None:
    with server_folder() as data:
        run = start("dev", CONTENTGEN_DATA_DIR=str(data / "data"), CONTENTGEN_LISTEN="nowhere", CONTENTGEN_SLOT="1")
        run.ended(status=1)
        assert "the scheduler has ended with status 78" in run.text()
        assert f"read {data}/data/logs/scheduler.log\n" in run.text()
        assert "CONTENTGEN_LISTEN" in run.text()
        assert "note: CONTENTGEN_SLOT is no setting" in run.text()
