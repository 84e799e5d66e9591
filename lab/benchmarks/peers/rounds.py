"""One round of one contender: four steps, each on fresh servers, and the counts checked after each.

Some peers run on Redis, and all have worker processes. contentgen's own round has the measures of `make bench`, each on
a fresh scheduler with a fresh database.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from lab.benchmarks import scenario
from lab.benchmarks.child import Child
from lab.benchmarks.command import lent_folder
from lab.benchmarks.latencies import QUIET_S, Latencies, latencies
from lab.benchmarks.measures import Options, fresh, load_and_drain
from lab.benchmarks.peers import figures
from lab.benchmarks.peers.apps import peer
from lab.benchmarks.peers.apps.peer import OURS, PLAIN, Scene, Tallies
from lab.benchmarks.peers.figures import Contender, Store
from lab.benchmarks.scenario import WrongCounts
from scheduler_svc.postgres import EmbeddedPostgres
from tests.harness.process import Process
from tests.harness.processes import free_port
from tests.harness.waiting import wait_until_async, wait_until_gone_async

REDIS_SERVER = shutil.which("redis-server")
START_LIMIT = 10.0


class NoRedis(Exception):
    """`redis-server` did not start."""


@contextlib.contextmanager
def failing_as(failure: type[Exception], message: str) -> Iterator[None]:
    """Raises a failure of the run where a wait within the block is in vain."""
    try:
        yield
    except AssertionError:
        raise failure(message) from None


@asynccontextmanager
async def redis(folder: Path, store: Store) -> AsyncIterator[str]:
    """Yields the URL, without a database, of a server of its own without snapshots; empty where none is needed."""
    if not store.is_redis:
        yield ""
        return
    assert REDIS_SERVER
    port = free_port()
    always = ("--appendonly", "yes", "--appendfsync", "always")
    journal = always if store is Store.REDIS_ALWAYS else ("--appendonly", "no")
    command = (REDIS_SERVER, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", "", *journal)

    def is_open() -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", port)) == 0

    server = Process("redis-server", command, folder / "redis.log", os.environ).launch()
    try:
        with failing_as(NoRedis, f"redis-server did not start within {START_LIMIT:.0f} s, see {server.log}"):
            await wait_until_async(is_open, within=START_LIMIT, what="redis-server takes connections")
        yield f"redis://127.0.0.1:{port}"
    finally:
        server.kill()


WORKERS_START_LIMIT = 30.0
STOP_LIMIT = 5.0


class WorkerFailed(Exception):
    """A worker ended early, or never got ready; the message names its log."""


class Workers:
    """So many of a command. Once it is entered all are ready to begin, and wait for `go`."""

    def __init__(self, command: Sequence[str], count: int, folder: Path, environment: Mapping[str, str]) -> None:
        self._workers = [
            Process(name, command, folder / f"{name}.log", os.environ | environment, cwd=Path.cwd())
            for name in (f"worker-{number}" for number in range(count))
        ]
        self._processes: list[Process] = []
        self._tallies = Tallies(folder)

    async def __aenter__(self) -> Self:
        try:
            for worker in self._workers:
                self._processes.append(worker.launch())
            log = self._processes[0].log
            with failing_as(WorkerFailed, f"a worker was not ready within {WORKERS_START_LIMIT:.0f} s, see {log}"):
                await wait_until_async(self._are_ready, within=WORKERS_START_LIMIT, what="the workers are ready")
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self._signal(signal.SIGTERM)
        try:
            with contextlib.suppress(AssertionError):
                await wait_until_gone_async(self._running, within=STOP_LIMIT, what="the workers end")
        finally:
            self._signal(signal.SIGKILL)  # the groups, of which only the leader was waited for
            for process in self._processes:
                process.popen.wait()

    def go(self) -> float:
        begin = time.monotonic()
        self._tallies.go()
        return begin

    def check(self) -> None:
        """Raises WorkerFailed if one of them has ended."""
        for process in self._processes:
            if not process.alive:
                raise WorkerFailed(f"a worker ended early, see {process.log}")

    def _are_ready(self) -> bool:
        self.check()
        return self._tallies.ready() == len(self._workers)

    def _running(self) -> list[str]:
        return [process.name for process in self._processes if process.alive]

    def _signal(self, number: signal.Signals) -> None:
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)


PATIENCE_S = 180.0
ROOT = Path(__file__).parents[3]

Measured = AsyncIterator[tuple[str, float, int]]
"""A measure, its value, and of how many tasks or samples that is."""


class Step(Child):
    """The driver of a contender, and the workers beside it."""

    def __init__(self, contender: Contender, python: Path, scene: Scene) -> None:
        super().__init__("benchmarks.peers.apps.driver.drive", scene.folder, "driver", peer=contender.module)
        self.python = str(python)
        paths = {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
        self.environment = scene.environment() | paths | {"dramatiq_queue_prefetch": "1000"}
        self._contender = contender
        self._scene = scene

    async def answer(self, do: str, tasks: int) -> dict[str, Any]:
        async with asyncio.timeout(PATIENCE_S):
            return await self.ask(do=do, tasks=tasks)

    async def enqueue(self, do: str, tasks: int) -> float:
        answer = await self.answer(do, tasks)
        return tasks / float(answer["end"] - answer["begin"])

    def workers(self, count: int) -> Workers:
        return Workers([self.python, *self._contender.worker], count, self._scene.folder, self.environment)

    async def drain(self, workers: int, tasks: int) -> float:
        """Returns the tasks done a second, from the start of all workers to the last task's end. Raises WrongCounts."""
        async with self.workers(workers) as running:
            begin = running.go()
            answer = await self.while_alive(running, "finish", tasks)
        check(self._contender, self._scene, await self.answer("counts", tasks), tasks)
        return tasks / float(answer["end"] - begin)

    async def while_alive(self, running: Workers, do: str, tasks: int) -> dict[str, Any]:
        """Returns the driver's answer, unless a worker ends before."""
        call = asyncio.create_task(self.answer(do, tasks))
        try:
            while not call.done():
                running.check()
                await asyncio.wait([call], timeout=0.05)
            return call.result()
        finally:
            call.cancel()


def check(contender: Contender, scene: Scene, counts: Mapping[str, int], tasks: int) -> None:
    """Checks that each task was handled once, and left what it should. Raises WrongCounts."""
    is_our_job = scene.job == OURS
    results = tasks if is_our_job else 0
    results_kept = tasks if contender.keeps_results and not is_our_job else 0
    expected = {"handled": tasks, "kept": results_kept, "results": results, "pool": results}
    if misses := {name: counts[name] for name, number in expected.items() if counts[name] != number}:
        raise WrongCounts(
            f"{contender.name} on {contender.store.value}: {misses} where {expected} were expected;"
            f" the logs are in {scene.folder}"
        )


@asynccontextmanager
async def step(contender: Contender, python: Path, above: Path, job: str) -> AsyncIterator[Step]:
    """Yields servers and a driver for one step, in a folder that stays after a failure: its logs say why."""
    with (
        lent_folder(above, "step-") as folder,
        EmbeddedPostgres(folder / "postgres") as server,  # the product's, with the product's settings
    ):
        url = server.url().replace("+psycopg2", "")
        async with (
            redis(folder, contender.store) as redis_url,
            Step(contender, python, Scene(folder, url, redis_url, job)) as started,
        ):
            yield started


async def measure_peer(contender: Contender, python: Path, above: Path, *, tasks: int, samples: int) -> Measured:
    """Yields all figures of one round: of so many tasks a drain, or a slow contender's share of them."""
    tasks = max(1, int(tasks * contender.share))
    singles = tasks // 4 if contender.has_bulk else tasks
    load = "bulk" if contender.has_bulk else "one_by_one"
    async with step(contender, python, above, PLAIN) as step_run:
        yield figures.ENQUEUE, await step_run.enqueue("one_by_one", singles), singles
        if singles < tasks:
            await step_run.enqueue(load, tasks - singles)
        yield figures.DRAIN_1, await step_run.drain(1, tasks), tasks
    async with step(contender, python, above, PLAIN) as step_run:
        rate = await step_run.enqueue(load, tasks)
        yield figures.BULK if contender.has_bulk else figures.ENQUEUE, rate, tasks
        yield figures.DRAIN_2, await step_run.drain(2, tasks), tasks
    async with step(contender, python, above, OURS) as step_run:
        await step_run.enqueue(load, tasks)
        yield figures.OUR_JOB, await step_run.drain(2, tasks), tasks
    async with step(contender, python, above, PLAIN) as step_run, step_run.workers(1) as running:
        running.go()
        await asyncio.sleep(QUIET_S)
        answer = await step_run.while_alive(running, "latencies", samples)
        for figure in _idle(Latencies(sorted(answer["ms"]), [])):
            yield figure


def _idle(samples: Latencies) -> Iterator[tuple[str, float, int]]:
    yield figures.IDLE_P50, samples.p50, len(samples.measured)
    yield figures.IDLE_P99, samples.p99, len(samples.measured)


async def measure_ours(above: Path, *, tasks: int, samples: int) -> Measured:
    """Yields the same of contentgen. Workers are no-op ones; each task leaves its result and its row of the pool."""
    options = Options(above)
    tasks = max(options.batch, tasks - tasks % options.batch)
    async with fresh(options) as stack:
        span = await scenario.load(stack, max(1, tasks // 4), batch=1, in_flight=peer.IN_FLIGHT)
        yield figures.ENQUEUE, span.per_second, span.tasks
    for workers, load, drain in ((1, "", figures.DRAIN_1), (2, figures.BULK, figures.OUR_JOB)):
        async with fresh(options) as stack:
            loaded, drained = await load_and_drain(stack, replace(options, workers=workers), tasks)
            scenario.check(stack, tasks)
        if load:
            yield load, loaded.per_second, tasks
        yield drain, drained.per_second, tasks
    async with fresh(options) as stack:
        await asyncio.sleep(QUIET_S)
        for figure in _idle(await latencies(stack, samples)):
            yield figure
