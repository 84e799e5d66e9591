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
from scheduler_svc.postgres.folders import socket_folder
from scheduler_svc.postgres.identity import server_user_for
from tests.harness.cluster import server_folder
from tests.harness.console import Visitor
from tests.harness.process import Process
from tests.harness.processes import belonging_to
from tests.harness.waiting import wait_until, wait_until_gone

PATIENCE_S = 60
PROMISED_S = 60
"""Within which the demo ends, set up already, with other tests beside it; alone it takes a third of that."""
FOLDER = re.compile(r"workers in (/\S+)")
CONSOLE = re.compile(r"^console +(http://\S+)/$", re.MULTILINE)
ADDRESS = re.compile(r"^scheduler +(\S+),", re.MULTILINE)


class Command(Process):
    """One run of the command, started at once, with all that it makes in a folder of its own."""

    def __init__(self, command: str, folder: Path, **settings: str) -> None:
        self._printed, self._folder = folder / "out", folder
        environment = {"PATH": os.environ["PATH"], "PYTHONUNBUFFERED": "1", "TMPDIR": str(folder), **settings}
        program = str(Path(sys.executable).with_name("contentgen"))
        super().__init__(command, [program, command], folder / "err", environment, out=self._printed, cwd=Path.cwd())
        self.launch()

    def out(self) -> str:
        return self._printed.read_text(encoding="utf-8")

    def printed(self, pattern: re.Pattern[str]) -> str:
        """The first group of `pattern`, once it is printed."""
        wait_until(
            lambda: pattern.search(self.out()) or not self.alive,
            within=PATIENCE_S,
            what=f"prints {pattern.pattern}",
        )
        found = pattern.search(self.out())
        assert found, self.text()
        return found[1]

    def family(self) -> list[psutil.Process]:
        """It, all processes that it started, and that these started."""
        return belonging_to(self._folder)

    def ended(self, within: float = PATIENCE_S, status: int = 0) -> None:
        """Waits for its end; all that it started is gone with it."""
        super().ended(within, status)
        wait_until_gone(self.family, within=1, what="nothing is left running")

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


def test_the_demo_shows_an_article_and_leaves_nothing(start: Callable[..., Command]) -> None:
    demo = start("demo", DATABASE_URL="postgresql://nobody@127.0.0.1:1/none")  # a setting for other stacks
    demo.ended(within=PROMISED_S)
    assert not Path(demo.printed(FOLDER)).exists()
    out = demo.out()
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
    demo = start("demo")
    folder = Path(demo.printed(FOLDER))
    demo.printed(re.compile(r"(processing)"))
    # itself, scheduler, PostgreSQL, console, two workers with their guards, CLIs
    wait_until(lambda: len(demo.family()) > 6, within=10, what="the demo has its processes")
    demo.signal(signal.SIGINT)
    demo.ended(status=130)
    assert not folder.exists()


@pytest.mark.parametrize("victim", ["scheduler", "worker-1"])
def test_a_demo_that_fails_names_the_log_and_keeps_it(start: Callable[..., Command], victim: str) -> None:
    demo = start("demo")
    folder = Path(demo.printed(FOLDER))
    demo.printed(re.compile(r"(processing)"))
    log = folder / "logs" / f"{victim}.log"
    _service(demo, log).kill()
    demo.ended(status=1)
    assert f"the {victim} has ended with status -9" in demo.text()
    assert f"read {log}\n" in demo.text()
    assert log.stat().st_size > 0
    assert [path.name for path in folder.iterdir()] == ["logs"]
    assert not _socket_folder(folder).exists()
    shutil.rmtree(folder)


def _socket_folder(folder: Path) -> Path:
    """Where the demo's PostgreSQL would have its socket if it were not told of a place of its own."""
    root = folder / "data" / "postgres"
    return socket_folder(root, server_user_for(root))


def _writes(process: psutil.Process, log: Path) -> bool:
    return os.path.realpath(f"/proc/{process.pid}/fd/2") == str(log)


def test_run_keeps_its_data_and_makes_one_account(start: Callable[..., Command]) -> None:
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
        assert "made account 1" in first.out()
        assert "the demo creator" in first.out()
        again = start("dev", **settings)
        with ContentGenerationClient(again.printed(ADDRESS)) as client:
            status = client.get_task_status(task_id)
            assert status is not None
            assert status["status"] == "completed"
            assert [account["account_id"] for account in client.iter_accounts()] == [1]
        again.signal(signal.SIGTERM)
        again.ended()
        assert "made account" not in again.out()


def test_run_starts_a_worker_again_that_is_killed_and_nothing_else_falls(start: Callable[..., Command]) -> None:
    with server_folder() as data:
        run = start("dev", CONTENTGEN_DATA_DIR=str(data / "data"), CONTENTGEN_LISTEN="127.0.0.1:0")
        logs = data / "data" / "logs"
        with ContentGenerationClient(run.printed(ADDRESS)) as client:
            victim, *others = [_service(run, logs / f"{name}.log") for name in ("worker-1", "worker-2", "scheduler")]
            victim.kill()
            former = Path(
                run.printed(re.compile(r"the worker-1 has ended with status -9; it is started again.* (\S+)"))
            )
            log = logs / "worker-1.log"
            wait_until(
                lambda: former.exists() and log.exists() and "session.opened" in log.read_text(),
                within=PATIENCE_S,
                what="the worker is connected again",
            )
            task_id = client.submit_task(1, "what comes afterwards")
            assert client.wait(task_id, PATIENCE_S, check=True)["status"] == "completed"
        assert _service(run, log) != victim
        assert all(other.is_running() for other in others)
        run.signal(signal.SIGINT)
        run.ended()


def _service(run: Command, log: Path) -> psutil.Process:
    """The process of the service that writes this log."""
    [service] = [each for each in run.family() if _writes(each, log) and each.ppid() == run.pid]
    return service


def test_run_says_what_is_wrong_with_its_settings(start: Callable[..., Command]) -> None:
    with server_folder() as data:
        run = start("dev", CONTENTGEN_DATA_DIR=str(data / "data"), CONTENTGEN_LISTEN="nowhere")
        run.ended(status=1)
        assert "the scheduler has ended with status 78" in run.text()
        assert "CONTENTGEN_LISTEN" in run.text()
