"""`contentgen`: the entry point of the operators' command. Layer: the top of cli.

It says what to install where the extra `cli` is missing. Exit statuses: see `failures.Status`.
"""

from __future__ import annotations

import gc
import io
import os
import sys

from contentgen.cli import local_stack
from contentgen.variables import notices


def main() -> None:
    """Runs what the command line says, and exits."""
    if "_CONTENTGEN_COMPLETE" not in os.environ:  # what a shell asks for while somebody types
        for notice in notices(os.environ):  # one may have been meant to name another scheduler
            sys.stderr.write(f"note: {notice}\n")
    if len(sys.argv) == 2 and sys.argv[1] in local_stack.PROGRAMS:
        local_stack.replace_by(sys.argv[1])  # at once: nothing of the tree is needed
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # before gRPC is imported: it prints nothing beside our messages
    gc.disable()  # until `freeze`: what is imported stays, and to look for garbage in it takes a third of a start
    try:
        from contentgen.cli.app import PROGRAM, make_app
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in {"", "contentgen"}:
            raise
        sys.stderr.write(f"contentgen: the module {error.name} is missing: pip install 'contentgen-grpc[cli]'\n")
        sys.exit(2)
    gc.freeze()
    gc.enable()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # topics are Chinese too, whatever the terminal can show
    make_app()(prog_name=PROGRAM)


if __name__ == "__main__":
    main()
