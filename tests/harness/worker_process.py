"""A worker as a process of its own, for tests that kill and stop it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from tests.harness.waiting import wait_until, wait_until_async
from tests.integration.guarded import living

DEMO_CREATOR = Path(sys.executable).with_name("contentgen-demo-creator")


class WorkerProcess:
    """One process of `contentgen-worker`, with its log."""

    def __init__(self, data_dir: Path, target: str, **settings: str) -> None:
        environment = {
            "PATH": os.environ["PATH"],
            "CONTENTGEN_SCHEDULER": target,
            "CONTENTGEN_DATA_DIR": str(data_dir),
            "CREATOR_CLI_PATH": str(DEMO_CREATOR),
            "CREATOR_PROFILE": "json",
            "CREATOR_OPTIONS_ALLOWED": "*",
            "CONTENTGEN_LOG_LEVEL": "debug",
            **settings,
        }
        data_dir.mkdir(parents=True, exist_ok=True)
        self._log = data_dir / "worker.log"
        self._begin = self._log.stat().st_size if self._log.exists() else 0
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "worker_svc.main"],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def text(self) -> str:
        """What it has printed."""
        with self._log.open("rb") as log:
            log.seek(self._begin)
            return log.read().decode("utf-8", "replace")

    def events(self, action: str) -> list[dict[str, Any]]:
        """Its log events with that action, so far."""
        lines = [line for line in self.text().splitlines() if line.startswith("{") and line.endswith("}")]
        return [event for event in map(json.loads, lines) if event.get("action") == action]

    def clis(self) -> list[psutil.Process]:
        """The live descendants of its guard."""
        try:
            guards = psutil.Process(self.process.pid).children()
            return [child for guard in guards for child in guard.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def leftovers(self) -> set[str]:
        """What is in the spool, the marks and the working folders of the first sub-folder."""
        folder = self._log.parent / "workers" / "1"
        return {f"{name}/{path.name}" for name in ("spool", "started", "scratch") for path in (folder / name).iterdir()}

    def term(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill -9, and waits until process, guard and CLIs are gone."""
        family = [process.pid for process in psutil.Process(self.process.pid).children(recursive=True)]
        self.process.kill()
        self.process.wait(10)
        wait_until(lambda: not living(family), within=10, what="the guard and its CLIs are gone")

    async def ended(self, within: float = 15.0) -> int:
        """Its exit status."""
        await wait_until_async(lambda: self.process.poll() is not None, within=within, what="the worker has ended")
        return self.process.returncode


def lease_in(event: Mapping[str, Any]) -> tuple[str, str, int]:
    """Which lease a log event is about: task, lease, attempt."""
    return event["task_id"], event["lease_id"], event["attempt"]


@contextmanager
def worker_process(data_dir: Path, target: str, **settings: str) -> Iterator[WorkerProcess]:
    """A worker that does not outlive the test; its log is shown where the test failed."""
    worker = WorkerProcess(data_dir, target, **settings)
    try:
        yield worker
    except BaseException:
        print(worker.text())
        raise
    finally:
        if worker.process.poll() is None:
            worker.kill()
