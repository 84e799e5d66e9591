"""`run`: the stack in the foreground until Ctrl-C, on data that stays.

Layer: cli.
"""

from __future__ import annotations

import os
import socket
from functools import partial
from pathlib import Path

from contentgen.client import ContentGenerationClient
from contentgen.client.target import DEFAULT_SCHEDULER
from contentgen.stack.processes import Interrupted, Interrupts
from contentgen.stack.services import START_LIMIT, WORKERS, Stack, command, demo_creator

DEFAULT_CONSOLE = "127.0.0.1", 8080
GRACE = 10.0
"""Seconds that running CLIs get after Ctrl-C."""
_POLL = 0.2


def run(interrupts: Interrupts) -> None:
    """Runs the stack until a signal comes. Raises StackError, which names the log to read."""
    data = Path(os.environ.get("CONTENTGEN_DATA_DIR") or ".contentgen").absolute()
    if not data.exists():
        data.mkdir(parents=True)
        data.chmod(0o711)  # where root runs it, another user runs PostgreSQL, and has to pass through
    try:
        with Stack(_environment(data), data / "logs", GRACE, interrupts) as stack:
            with ContentGenerationClient(stack.target) as client:
                _set_up(stack, client)
            _say_how_to_use_it(stack, data)
            stack.keep_up(partial(print, flush=True), _POLL)
    except Interrupted:
        print("stopped")


def _environment(data: Path) -> dict[str, str]:
    variables = {name: value for name, value in os.environ.items() if name != "CONTENTGEN_WORKER_ID"}  # there are two
    if not variables.get("CONTENTGEN_CONSOLE_LISTEN") and _taken(DEFAULT_CONSOLE):
        variables["CONTENTGEN_CONSOLE_LISTEN"] = f"{DEFAULT_CONSOLE[0]}:0"
    creator = {} if variables.get("CREATOR_CLI_PATH") else demo_creator(data / "creator")
    return {"CONTENTGEN_CONSOLE_DESIGN": "on", **variables, **creator, "CONTENTGEN_DATA_DIR": str(data)}


def _taken(address: tuple[str, int]) -> bool:
    """Returns whether another program uses an address: 8080 is popular."""
    try:
        socket.create_server(address).close()
    except OSError:
        return True
    return False


def _set_up(stack: Stack, client: ContentGenerationClient) -> None:
    stack.until(
        lambda: client.get_worker_pool_status()["num_workers"] >= WORKERS,
        within=START_LIMIT,
        what=f"{WORKERS} workers are connected",
    )
    if next(client.iter_accounts(), None) is None:
        print(f"the database is empty: made account {client.create_account('default')['account_id']}")


def _say_how_to_use_it(stack: Stack, data: Path) -> None:
    target, cli = stack.target, os.environ.get("CREATOR_CLI_PATH")
    program = command("contentgen") + ("" if target == DEFAULT_SCHEDULER else f" --scheduler {target}")
    creator = cli or "the demo creator, an offline stand-in (CREATOR_CLI_PATH names yours)"
    print(
        f"""\
console    {stack.console}
scheduler  {target}, with {WORKERS} workers
CLI        {creator}
data       {data}, logs in {data / "logs"}

Submit a task, and look at it:
  {program} task submit --account 1 "人工智能的未来发展" --wait
  {program} task list
  {program} top

Ctrl-C ends it; what runs is given {GRACE:g} s, then it goes back to the queue.""",
        flush=True,
    )
