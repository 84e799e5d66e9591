"""The inputs that are tried in this process, without a service: by name, and how to try one."""

from __future__ import annotations

import random
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from lab.fuzz.case import random_of
from lab.fuzz.inputs import creators, files, pictures, rows
from lab.fuzz.tally import Finding, Tally
from tests.harness.cluster import server_folder

Try = Callable[[random.Random, Path], None]
"""Tries one input; raises where it is not taken as it has to be. The folder is its own to write in."""

INPUTS: Mapping[str, Try] = {
    "output of json": creators.profile("json"),
    "output of reference": creators.profile("reference"),
    "output of llm-content-creator": creators.profile("llm-content-creator"),
    "progress lines": creators.progress_line,
    "tokens file": files.tokens,
    "spool": files.spool,
    "guard's socket": files.guard_wire,
    "pictures": pictures.measured,
    "page token": files.page_token,
    "resume token": files.resume_token,
    "public ids": files.public_id,
    "old account": rows.account,
    "old task": rows.task,
    "old content": rows.content,
    "old pool entry": rows.entry,
    "scheduler's settings": files.settings_of_scheduler,
    "worker's settings": files.settings_of_worker,
}


SLOW = frozenset(name for name in INPUTS if name.startswith(("output of", "pictures")) or name.endswith("settings"))
"""They take milliseconds each, and one turn for eight of the others."""


def turns(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(name for name in names for _ in range(1 if name in SLOW else 8))


def try_inputs(names: Sequence[str], seed: int, numbers: range) -> Tally:
    """Returns what the inputs of these numbers came to, which take turns at the names; runs in the campaign's pool."""
    tally = Tally()
    with server_folder() as folder:
        for number in numbers:
            name = names[number % len(names)]
            try:
                INPUTS[name](random_of(name, seed, number), folder)
            except Exception as error:  # noqa: BLE001 - whatever it is, it must not come out
                tally.count(name, "FOUND")
                frame = traceback.extract_tb(error.__traceback__)[-1]
                problem = f"{type(error).__name__} in {frame.name}: {error}"[:500]
                tally.find(Finding(name, problem, seed, number, traceback.format_exc()[-4_000:]))
            else:
                tally.count(name, "taken or refused")
    return tally
