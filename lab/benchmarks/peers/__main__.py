"""`python -m lab.benchmarks.peers`, or `make bench-peers`: contentgen beside the queues that a user would pick instead.

Each round starts a fresh PostgreSQL (and Redis) for each step of each queue, the queues in turn, and checks the counts
after every drain: a wrong one ends the run. What is measured, a round and queue:

  enqueue one by one   tasks of 1 KB, 64 calls in flight where the client is asynchronous
  in bulk              1,000 tasks a call (contentgen: 500), where there is such a call
  no-op handler        a backlog is drained by one worker process, then another by two
  our job              two worker processes, whose handler stores a 2 KB result and a pool row in one commit
  idle                 milliseconds from the call that enqueues to the handler, one task at a time

All of it shares this machine, loaders and workers too: compare figures of one run, not of two machines. The tables
are of medians. Redis is used where `redis-server` is installed, by the benchmark's own server.

  make bench-peers                                          about 12 minutes
  make bench-peers ARGS=--quick                             about 3 minutes, one round
  make bench-peers ARGS='--peers contentgen,pgqueuer'       these only
  python -m lab.benchmarks.peers --output jsonl >> run.jsonl    figures to keep; then:
  python -m lab.benchmarks.peers --from run.jsonl --plots DIR   their tables, and plots (these need matplotlib)
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from lab.benchmarks import conditions
from lab.benchmarks.command import lent_folder, run_measurement
from lab.benchmarks.kept import add_arguments, line_of, show_kept
from lab.benchmarks.peers import figures, rounds
from lab.benchmarks.peers.figures import ALL, CONTENTGEN, OURS, Contender, Store
from lab.benchmarks.peers.rounds import REDIS_SERVER, NoRedis, WorkerFailed

PYTHON = Path("build/peers-venv/bin/python")
REDIS = {
    "both": (Store.REDIS, Store.REDIS_ALWAYS),
    "memory": (Store.REDIS,),
    "always": (Store.REDIS_ALWAYS,),
    "none": (),
}
QUICK = {"tasks": 4_000, "rounds": 1, "samples": 50, "redis": "memory"}
USUAL = {"tasks": 12_000, "rounds": 2, "samples": 200, "redis": "both"}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m lab.benchmarks.peers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--peers", default="", help=f"whom to measure, by comma: {', '.join(contender.key for contender in ALL)}"
    )
    parser.add_argument("--tasks", type=_positive, help="tasks of a drain; a slow queue gets a share (default: 12000)")
    parser.add_argument("--rounds", type=_positive, help="rounds, each with all queues in turn (default: 2)")
    parser.add_argument("--samples", type=_positive, help="samples of a latency (default: 200)")
    parser.add_argument("--redis", choices=REDIS, help="with appendfsync always, or in memory only (default: both)")
    parser.add_argument("--quick", action="store_true", help="one round of 4,000 tasks, Redis in memory only")
    parser.add_argument("--output", choices=("table", "jsonl"), default="table", help="how to print (default: table)")
    add_arguments(parser)
    parser.add_argument("--python", type=Path, default=PYTHON, help="of the peers' packages (default: %(default)s)")
    parser.add_argument("--dir", type=Path, default=Path(tempfile.gettempdir()), help="a folder on the disk to measure")
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} must be 1 or more")
    return int(text)


def main(argv: Sequence[str]) -> int:
    parser = _parser()
    parser.set_defaults(**(QUICK if "--quick" in argv else USUAL))
    arguments = parser.parse_args(argv)
    if arguments.kept:
        return show_kept(arguments, figures.read_figures, figures.tables, figures.PAGE, figures.draw)
    if arguments.plots or arguments.page:
        parser.error("--plots and --page go with --from")
    contenders = _chosen(parser, arguments)
    if any(contender.key != CONTENTGEN for contender in contenders) and not arguments.python.exists():
        parser.error(f"there is no {arguments.python}: `make bench-peers` installs the peers' packages there")
    return run_measurement(_run(arguments, contenders), (WorkerFailed, NoRedis))


def _chosen(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> list[Contender]:
    names = [name for name in arguments.peers.split(",") if name]
    if unknown := sorted(set(names) - {contender.key for contender in ALL}):
        parser.error(f"no such peer: {', '.join(unknown)} (there are {', '.join(contender.key for contender in ALL)})")
    stores = (Store.POSTGRES, *REDIS[arguments.redis])
    contenders = [contender for contender in ALL if (contender.key in names if names else contender.store in stores)]
    missing = [contender.key for contender in contenders if contender.store.is_redis]
    if missing and not REDIS_SERVER:
        sys.stderr.write(f"left out, as redis-server is not installed: {', '.join(missing)}\n")
        contenders = [contender for contender in contenders if not contender.store.is_redis]
    return contenders


async def _run(arguments: argparse.Namespace, contenders: Sequence[Contender]) -> None:
    with lent_folder(arguments.dir, "contentgen-peers-") as folder:
        record = await _measure(arguments, contenders, folder)
    if arguments.output == "table":
        print(figures.tables(record))


async def _measure(arguments: argparse.Namespace, contenders: Sequence[Contender], folder: Path) -> figures.Kept:
    """Prints lines as they come, so that a run that ends early leaves what it had."""
    begin = time.monotonic()
    measurements: list[figures.Figure] = []

    def line(text: str) -> None:
        if arguments.output == "jsonl":
            print(text, flush=True)

    run = figures.Run(
        **asdict(conditions.now(folder)),
        versions=_versions(contenders, arguments.python),
        settings={contender.key: contender.settings for contender in contenders},
        tasks=arguments.tasks,
        rounds=arguments.rounds,
    )
    line(line_of(run))
    for number in range(1, arguments.rounds + 1):
        for contender in contenders:
            elapsed = time.monotonic() - begin
            sys.stderr.write(f"{elapsed:5.0f} s  round {number} of {arguments.rounds}: {contender.key}\n")
            sizes = {"tasks": arguments.tasks, "samples": arguments.samples}
            if contender.key == CONTENTGEN:
                measured = rounds.measure_ours(folder, **sizes)
            else:
                measured = rounds.measure_peer(contender, arguments.python, folder, **sizes)
            async for measure, value, count in measured:
                unit = "ms" if measure in {figures.IDLE_P50, figures.IDLE_P99} else "tasks/s"
                measurements.append(figures.Figure(contender.key, measure, number, round(value, 3), count, unit))
                line(line_of(measurements[-1]))
    return figures.Kept((run,), tuple(measurements))


def _versions(contenders: Sequence[Contender], python: Path) -> dict[str, str]:
    names = {package for contender in contenders for package in contender.packages}
    versions = {}
    if any(contender.key != CONTENTGEN for contender in contenders):
        command = [str(python), "-m", "pip", "--disable-pip-version-check", "list", "--format", "json"]
        output = subprocess.run(command, capture_output=True, text=True, check=True)
        versions = {
            package["name"]: package["version"] for package in json.loads(output.stdout) if package["name"] in names
        }
    if any(contender.key == CONTENTGEN for contender in contenders):
        versions |= {package: version(package) for package in OURS.packages}
    if any(contender.store.is_redis for contender in contenders):
        output = subprocess.run([str(REDIS_SERVER), "--version"], capture_output=True, text=True, check=True)
        versions["redis-server"] = output.stdout.split("v=")[1].split()[0]
    return versions


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
