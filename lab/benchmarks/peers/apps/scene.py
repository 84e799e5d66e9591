"""What a peer's process is told by its environment, and the task that all peers are given."""

from __future__ import annotations

import os
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.benchmarks.prose import RESULT_BYTES, brief, prose

PLAIN = "plain"
"""The handler does nothing; where the peer keeps results, it returns one of 2 KB."""
OURS = "ours"
"""The handler stores a result of 2 KB and a row of the publish pool, in one commit."""
_PREFIX = "PEERS_"
_DISTINCT_TASKS = 20


@dataclass(frozen=True, slots=True)
class Scene:
    """`folder` is shared by the processes of one step; `postgres` and `redis` are URLs. No Redis: an empty one."""

    folder: Path
    postgres: str
    redis: str
    job: str

    @classmethod
    def told(cls) -> Scene:
        """Returns the scene that this process's environment tells."""
        values = {name: os.environ[f"{_PREFIX}{name.upper()}"] for name in ("folder", "postgres", "redis", "job")}
        return cls(Path(values["folder"]), values["postgres"], values["redis"], values["job"])

    def environment(self) -> dict[str, str]:
        """Returns the environment that tells the scene."""
        values = {"folder": str(self.folder), "postgres": self.postgres, "redis": self.redis, "job": self.job}
        return {f"{_PREFIX}{name.upper()}": value for name, value in values.items()}


def _tasks() -> list[dict[str, Any]]:
    chance = random.Random(1)
    return [{"account_id": number % 4 + 1, **brief(chance)} for number in range(_DISTINCT_TASKS)]


_TASKS = _tasks()
RESULT = prose(random.Random(2), RESULT_BYTES)


def task(number: int) -> dict[str, Any]:
    """About 1 KB; `number` tells it from the others."""
    return {**_TASKS[number % _DISTINCT_TASKS], "number": number}
