"""`python -m contentgen.stack demo|dev`: the whole stack on this machine, for the commands of `contentgen`.

Layer: the top of cli. Exit statuses: 0 done or, of `dev`, ended by a signal; 1 something failed; 130 a demo that was
interrupted.
"""

from __future__ import annotations

import os

os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"  # before gRPC is imported: processes are started beside it

import argparse
import io
import sys

from contentgen.stack.demo import demo
from contentgen.stack.processes import status_of
from contentgen.stack.run import run

_COMMANDS = {"demo": demo, "dev": run}


def main() -> int:
    """Runs the command, and returns its exit status."""
    parser = argparse.ArgumentParser(prog="contentgen.stack", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("command", choices=_COMMANDS, help="demo: for a look; dev: until Ctrl-C, data is kept")
    command = parser.parse_args().command
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # articles are Chinese too, whatever the terminal can show
    return status_of(command, _COMMANDS[command])


if __name__ == "__main__":
    sys.exit(main())
