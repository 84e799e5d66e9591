"""`make chaos`: hurts a whole system for minutes, by a seed, and judges what became of it. `--help` says how."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from functools import partial

from lab.chaos import campaign, options
from lab.chaos.faults import KINDS
from lab.chaos.figures import PART, Figures, figures, table
from lab.chaos.fleet import victims
from lab.chaos.options import Options
from lab.chaos.plan import plan
from lab.deployment.disks import enter_namespace
from tests.harness.cluster import server_folder

_say = partial(print, flush=True)
_NOT_KEPT = ("postgres", "assets", "worker-??", "runs", "chaos-creator")


def main(arguments: list[str]) -> int:
    choices = options.read(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # services are no children that would end with us
    _say(f"seed {choices.seed}, {choices.seconds:g} s of faults; to repeat them: {choices.command}")
    without_disks = None if choices.plan else enter_namespace()
    if without_disks:
        _say(f"disks that fill up: not run here ({without_disks})")
    kinds = [kind.name for kind in KINDS if kind.name in choices.faults and not (without_disks and kind.needs_disks)]
    faults = plan(choices.seed, choices.seconds, victims(choices.workers), rate=choices.rate, kinds=kinds)
    if choices.plan:
        for fault in faults:
            _say(f"{fault.at:8.1f} s  {fault.kind:<20}{fault.victim:<14}{fault.duration:.1f} s")
        return 0
    begin = time.monotonic()
    with server_folder() as folder:
        try:
            result = campaign.run(choices, faults, folder, _say, disks=not without_disks)
        finally:
            if choices.keep:
                shutil.copytree(folder, choices.keep, ignore=shutil.ignore_patterns(*_NOT_KEPT))
    _tell(result, figures(result.evidence), choices)
    _say(f"{time.monotonic() - begin:.0f} s in all")
    return 1 if result.wrong else 0


def _tell(result: campaign.Result, numbers: Figures, choices: Options) -> None:
    _say(f"\n{table(numbers)}\n")
    if result.missed:
        _say(f"{result.missed} faults of the plan met nobody: their victims had not come back from earlier ones")
    if result.stood_still:
        _say(f"PostgreSQL itself stood still {result.stood_still} times, let nobody in and was ended for it")
    for name, times in result.came_up_late.items():
        _say(f"{name} ended {times} times before it served, and was started again")
    for problem in result.wrong[:100]:  # --json has them all
        _say(f"WRONG: {problem}")
    _say("every promise was kept" if not result.wrong else f"{len(result.wrong)} promises were BROKEN: see above")
    if choices.json:
        document = {
            "command": choices.command,
            "seed": choices.seed,
            "seconds": choices.seconds,
            "wrong": list(result.wrong),
            "came_up_late": dict(result.came_up_late),
            **numbers.document(),
        }
        choices.json.write_text(json.dumps(document, indent=2) + "\n")
    if choices.publish:
        text = f"\n`{choices.command}`, on {os.cpu_count()} cores:\n\n{table(numbers)}\n"
        choices.publish.write_text(PART.replaced(choices.publish.read_text(), text))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
