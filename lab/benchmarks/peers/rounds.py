"""One round of one contender: four steps, each on fresh servers, and the counts checked after each."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.benchmarks.child import Child
from lab.benchmarks.folders import make_folder
from lab.benchmarks.latencies import Latencies
from lab.benchmarks.peers import figures, servers
from lab.benchmarks.peers.apps.scene import OURS, PLAIN, Scene
from lab.benchmarks.peers.contenders import Contender
from lab.benchmarks.peers.workers import Workers
from lab.benchmarks.scenario import WrongCounts

QUIET_S = 3.0
"""For what is left of a start, before a latency is measured; as with contentgen."""
PATIENCE_S = 180.0
"""How long any one load, drain or series of samples may take."""
ROOT = Path(__file__).parents[3]


@dataclass(frozen=True, slots=True)
class Sizes:
    """Of a round: tasks of a drain, before a contender's share, and samples of a latency."""

    tasks: int
    samples: int


Tell = Callable[[str, float, int], None]
"""Takes a measure, its value, and of how many tasks or samples that is."""


class _Driver(Child):
    def __init__(self, contender: Contender, python: Path, scene: Scene) -> None:
        super().__init__("peers.apps.driver", scene.folder, "driver", peer=contender.module)
        self.python = str(python)
        self.environment = environment(scene)


class Step:
    """A peer on fresh servers, with nothing enqueued."""

    def __init__(self, contender: Contender, python: Path, scene: Scene, driver: Child) -> None:
        self._contender = contender
        self._python = python
        self._scene = scene
        self._driver = driver

    async def ask(self, do: str, tasks: int) -> dict[str, Any]:
        async with asyncio.timeout(PATIENCE_S):
            return await self._driver.ask(do=do, tasks=tasks)

    async def enqueue(self, do: str, tasks: int) -> float:
        """Returns how many tasks a second are enqueued."""
        answer = await self.ask(do, tasks)
        return tasks / float(answer["end"] - answer["begin"])

    @asynccontextmanager
    async def workers(self, count: int) -> AsyncIterator[Workers]:
        command = [str(self._python), *self._contender.worker]
        async with Workers(command, count, self._scene.folder, environment(self._scene)) as workers:
            yield workers

    async def drain(self, workers: int, tasks: int) -> float:
        """Returns the tasks done a second, from the start of all workers to the last task's end. Raises WrongCounts."""
        async with self.workers(workers) as running:
            begin = running.go()
            answer = await self.while_alive(running, "finish", tasks)
        check(self._contender, self._scene, await self.ask("counts", tasks), tasks)
        return tasks / float(answer["end"] - begin)

    async def while_alive(self, running: Workers, do: str, tasks: int) -> dict[str, Any]:
        """Returns the driver's answer, unless a worker ends before."""
        call, watch = asyncio.create_task(self.ask(do, tasks)), asyncio.create_task(running.watch())
        try:
            await asyncio.wait({call, watch}, return_when=asyncio.FIRST_COMPLETED)
            if watch.done():
                watch.result()
            return await call
        finally:
            call.cancel()
            watch.cancel()


def check(contender: Contender, scene: Scene, counts: Mapping[str, int], tasks: int) -> None:
    """Each task was handled once, and left what it should. Raises WrongCounts."""
    is_our_job = scene.job == OURS
    results = tasks if is_our_job else 0
    results_kept = tasks if contender.keeps_results and not is_our_job else 0
    expected = {"handled": tasks, "kept": results_kept, "results": results, "pool": results}
    if misses := {name: counts[name] for name, number in expected.items() if counts[name] != number}:
        raise WrongCounts(
            f"{contender.name} on {contender.store.value}: {misses} where {expected} were expected;"
            f" the logs are in {scene.folder}"
        )


def environment(scene: Scene) -> dict[str, str]:
    """Returns the environment of a peer's process."""
    return scene.environment() | {
        "PYTHONPATH": str(ROOT),
        "PYTHONWARNINGS": "ignore",
        "dramatiq_queue_prefetch": "1000",
    }


@asynccontextmanager
async def step(contender: Contender, python: Path, above: Path, job: str) -> AsyncIterator[Step]:
    """Servers and a driver for one step, in a folder that stays after a failure: its logs say why."""
    folder = make_folder(above, "step-")
    with servers.postgres(folder) as url:
        async with servers.redis(folder, contender.store) as redis:
            scene = Scene(folder, url, redis, job)
            async with _Driver(contender, python, scene) as driver:
                yield Step(contender, python, scene, driver)
    shutil.rmtree(folder)


async def measure(contender: Contender, python: Path, above: Path, sizes: Sizes, tell: Tell) -> None:
    """Tells all figures of one round."""
    tasks = max(1, int(sizes.tasks * contender.share))
    singles = tasks // 4 if contender.has_bulk else tasks
    load = "bulk" if contender.has_bulk else "one_by_one"
    async with step(contender, python, above, PLAIN) as step_run:
        tell(figures.ENQUEUE, await step_run.enqueue("one_by_one", singles), singles)
        if singles < tasks:
            await step_run.enqueue(load, tasks - singles)
        tell(figures.DRAIN_1, await step_run.drain(1, tasks), tasks)
    async with step(contender, python, above, PLAIN) as step_run:
        rate = await step_run.enqueue(load, tasks)
        tell(figures.BULK if contender.has_bulk else figures.ENQUEUE, rate, tasks)
        tell(figures.DRAIN_2, await step_run.drain(2, tasks), tasks)
    async with step(contender, python, above, OURS) as step_run:
        await step_run.enqueue(load, tasks)
        tell(figures.OUR_JOB, await step_run.drain(2, tasks), tasks)
    async with step(contender, python, above, PLAIN) as step_run, step_run.workers(1) as running:
        running.go()
        await asyncio.sleep(QUIET_S)
        answer = await step_run.while_alive(running, "latencies", sizes.samples)
        tell_latencies(Latencies(sorted(answer["ms"]), []), tell)


def tell_latencies(samples: Latencies, tell: Tell) -> None:
    """Tells the figures of an idle queue."""
    tell(figures.IDLE_P50, samples.p50, len(samples.measured))
    tell(figures.IDLE_P99, samples.p99, len(samples.measured))
