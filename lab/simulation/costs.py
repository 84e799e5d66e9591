"""What the real system was measured to cost, as `costs.json` has it. All times are in seconds.

Part of `lab.simulation`.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

DEFAULT = Path(__file__).with_name("costs.json")


@dataclass(frozen=True, slots=True)
class Part:
    """CPU seconds of a scheduler's process, and of all of PostgreSQL's."""

    scheduler: float
    postgres: float


@dataclass(frozen=True, slots=True)
class Costs:
    """CPU by what causes it; of a transaction beside what its items cost."""

    call: Part
    """A SubmitTask or BatchSubmitTasks, beside its tasks and its transaction."""
    task: Part
    """A submitted task."""
    task_ahead: float
    """What of it the scheduler does before the transaction, while another one may run: decoding, checks."""
    submits: Part
    """A transaction of the submit lane, with what else it causes: its signals, the answers."""
    submit_inside: float
    """The share of it in which the lane's thread waits for it; the rest goes on beside it."""
    claims: Part
    """A transaction of the claim, with what else it causes: the assignment, its signals."""
    claim_inside: float
    reports: Part
    """A transaction of a report lane, with what else it causes."""
    report_inside: float
    message: Part
    """A worker's report, or a heartbeat with leases, and its answer."""
    run: Part
    """A task from its claim to its stored result."""
    heartbeat: Part
    """A heartbeat of an idle worker, with its share of a transaction."""
    hello: Part
    """A hello on a new connection, to its welcome, while many others wait."""
    rest: Part
    """A second in which nothing happens."""
    client_call: float
    """CPU of a client's process: a call."""
    client_task: float
    """A task in it."""
    worker_run: float
    """CPU of a worker's process: a task from its assignment to the acknowledgement."""
    worker_message: float
    """A message that a worker sends, and its answer."""
    dial: float
    """A connection with its hello."""
    refused: float
    """An attempt to connect where nobody listens."""
    submit_wait: float
    """What a transaction of the submit lane takes longer than its CPU on an idle machine: flush, round trips."""
    claim_wait: float
    report_wait: float
    hello_wait: float
    notice: float
    """What an idle submit-to-worker takes longer than its parts: what wakes up, on the way between the processes."""
    stream_bytes: float
    """Memory of the scheduler a connected worker."""
    task_wal: float
    """Bytes of WAL: a submitted task, in batches of 500."""
    single_wal: float
    """A task submitted by a call of its own, 32 in flight."""
    run_wal: float
    """A task from claim to stored result, 2,000 leases a worker."""
    heartbeat_wal: float
    """A heartbeat of an idle worker."""
    others: float
    """Cores that other processes of the machine used meanwhile."""


def save(costs: Costs, measured: dict[str, Any], path: Path) -> None:
    """Writes them, with what they were derived from."""
    path.write_text(json.dumps({"costs": asdict(costs), "measured": measured}, indent=1) + "\n")


def load(path: Path = DEFAULT) -> Costs:
    """Reads what `save` wrote."""
    document = json.loads(path.read_text())["costs"]
    parts: dict[str, Any] = {
        name: Part(**value) if isinstance(value, dict) else value for name, value in document.items()
    }
    return Costs(**parts)
