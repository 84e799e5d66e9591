"""One round of one contender: four steps, each on fresh servers, and the counts checked after each.

contentgen's own round has the measures of `make bench`, each on a fresh scheduler with a fresh database.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from lab.benchmarks import scenario
from lab.benchmarks.child import Child
from lab.benchmarks.command import make_folder
from lab.benchmarks.latencies import QUIET_S, Latencies, latencies
from lab.benchmarks.measures import Options, fresh, load_and_drain
from lab.benchmarks.peers import figures, servers
from lab.benchmarks.peers.apps import peer
from lab.benchmarks.peers.apps.peer import OURS, PLAIN, Scene
from lab.benchmarks.peers.contenders import Contender
from lab.benchmarks.peers.servers import Workers
from lab.benchmarks.scenario import WrongCounts
from scheduler_svc.postgres import EmbeddedPostgres

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
    folder = make_folder(above, "step-")
    with EmbeddedPostgres(folder / "postgres") as server:  # the product's, with the product's settings
        url = server.url().replace("+psycopg2", "")
        async with (
            servers.redis(folder, contender.store) as redis,
            Step(contender, python, Scene(folder, url, redis, job)) as started,
        ):
            yield started
    shutil.rmtree(folder)


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
