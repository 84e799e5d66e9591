"""Worker processes as a StatefulSet runs them: numbered from 0, the highest number goes first, by TERM."""

from __future__ import annotations

import signal

from tests.harness.stack import Scheduler, Stack, Worker


class WorkerSet:
    """Started workers, and those that drain. The CLI of a later one runs longer: some run when they have to go."""

    def __init__(self, stack: Stack, scheduler: Scheduler, *, slots: int, run_seconds: float) -> None:
        self._stack = stack
        self._scheduler = scheduler
        self._slots = slots
        self._run_seconds = run_seconds
        self._workers: list[Worker] = []
        self._draining: list[Worker] = []
        self.statuses: list[int | None] = []
        """With what those ended that are gone."""
        self.runs_in_drains = 0
        """CLIs that ran when their worker was told to go."""

    def scale(self, replicas: int) -> None:
        """Starts workers up to this number, or lets the highest ones drain. One that still drains keeps its number."""
        self._reap()
        while len(self._workers) > replicas:
            worker = self._workers.pop()
            worker.signal(signal.SIGTERM)
            self._draining.append(worker)
        busy = {worker.name for worker in self._draining}
        while len(self._workers) < replicas and (name := f"worker-{len(self._workers)}") not in busy:
            seconds = self._run_seconds * (1 + len(self._workers) / 4)
            settings = {"CREATOR_DEMO_SECONDS": f"{seconds:g}"}
            worker = self._stack.worker(name, self._scheduler, slots=self._slots, **settings)
            self._workers.append(worker.launch())

    def _reap(self) -> None:
        ended_workers = [worker for worker in self._draining if not worker.alive]
        self.statuses += [worker.exit_status for worker in ended_workers]
        self.runs_in_drains += sum(worker.events("worker.draining")[-1]["running"] for worker in ended_workers)
        self._draining = [worker for worker in self._draining if worker.alive]

    @property
    def serving(self) -> int:
        """Workers that have opened a session and do not drain."""
        return sum(worker.served for worker in self._workers)

    @property
    def running(self) -> int:
        """Processes, those that start or drain too."""
        self._reap()
        return len(self._workers) + len(self._draining)
