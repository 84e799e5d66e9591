"""What a span of work has used, by all schedulers of a stack and by PostgreSQL, for each task of it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Self

import psutil

from lab.benchmarks.scale.rows import Value
from lab.benchmarks.stack import Cpu, Stack
from tests.harness.process import Process
from tests.harness.scrape import Scrape


@dataclass(frozen=True, slots=True)
class Reading:
    """So far; the claims are those that leased something or looked for it."""

    at: float
    cpu: Cpu
    wal: float
    claims: float
    claim_s: float

    def used(self, before: Self, tasks: int, end: float) -> dict[str, Value]:
        """Returns a row for so many tasks from the reading before until `end`."""
        cpu = self.cpu - before.cpu
        claims = self.claims - before.claims
        return {
            "tasks/s": round(tasks / (end - before.at)),
            "scheduler, µs a task": round(cpu.scheduler / tasks * 1e6),
            "PostgreSQL, µs a task": round(cpu.postgres / tasks * 1e6),
            "WAL, KiB a task": round((self.wal - before.wal) / tasks / 1024, 2),
            **(
                {"claims": int(claims), "ms a claim": round((self.claim_s - before.claim_s) / claims * 1e3, 1)}
                if claims
                else {}
            ),
        }


class Meter:
    """Reads a stack, and the metrics of its scheduler on this port."""

    def __init__(self, stack: Stack, port: int) -> None:
        self._stack = stack
        self._ports = [port]
        self._others: list[Process] = []

    def add(self, other: Process, port: int) -> None:
        """Reads another scheduler, too."""
        self._others.append(other)
        self._ports.append(port)

    async def read(self) -> Reading:
        return await asyncio.to_thread(self._read)

    def _read(self) -> Reading:
        scrapes = [Scrape(port) for port in self._ports]
        claims, claim_s = (
            sum(scrape(f"contentgen_lane_group_seconds_{part}", lane="claims") for scrape in scrapes)
            for part in ("count", "sum")
        )
        return Reading(time.monotonic(), self._cpu(), self._stack.wal(), claims, claim_s)

    def _cpu(self) -> Cpu:
        cpu = self._stack.cpu()
        times = [psutil.Process(process.pid).cpu_times() for process in self._others]
        return Cpu(
            cpu.scheduler + sum(process_times.user + process_times.system for process_times in times), cpu.postgres
        )
