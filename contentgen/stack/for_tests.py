"""`python -m contentgen.stack.for_tests`: a scheduler for the tests of the process that started it, however that ends.

It runs in a session of its own, where no Ctrl-C reaches it, until its standard input is closed, as the kernel does for
a process that was killed; then it ends the scheduler and removes its folder. Its argument is the scheduler's
settings, by variable, as JSON; its output are lines of JSON: `target` once the scheduler serves, `error` if that does
not start, or ends by itself. Layer: the top of cli.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import sys
from contextlib import suppress
from pathlib import Path

from contentgen.stack.processes import Interrupted, Interrupts, StackError
from contentgen.stack.services import SchedulerAlone, environment, throwaway_folder

MEMORY = Path("/dev/shm")
MIN_FREE_BYTES = 1 << 30
_POLL = 0.1


def main() -> None:
    settings: dict[str, str] = json.loads(sys.argv[1])
    in_memory = "TMPDIR" not in os.environ and MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > MIN_FREE_BYTES
    base = MEMORY if in_memory else None  # nothing is to be kept
    with Interrupts() as interrupts, suppress(Interrupted), throwaway_folder("testing", base) as folder:
        variables = {**environment(folder), "OTEL_SDK_DISABLED": "true", **settings}
        try:
            with SchedulerAlone(variables, folder / "logs", 0.0, interrupts) as scheduler:
                print(json.dumps({"target": scheduler.target}), flush=True)
                while not select.select([sys.stdin], [], [], _POLL)[0]:
                    scheduler.check()
        except StackError as error:
            print(json.dumps({"error": str(error)}), flush=True)


if __name__ == "__main__":
    main()
