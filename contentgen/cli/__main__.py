"""`contentgen`: the entry point of the operators' command. Layer: the top of cli.

Exit statuses: see `failures.Status`.
"""

from __future__ import annotations

import os

os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # before gRPC is imported: a failed call is one line, and it is ours

import io
import sys

from contentgen.cli.app import PROGRAM, make_app


def main() -> None:
    """Runs what the command line says, and exits."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # topics are Chinese too, whatever the terminal can show
    make_app()(prog_name=PROGRAM)


if __name__ == "__main__":
    main()
