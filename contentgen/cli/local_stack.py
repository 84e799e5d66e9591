"""Starts the stack on this machine in place of the command: `contentgen dev`, `contentgen demo`.

The stack is a program of its own: it may not have gRPC loaded before its first process.
"""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from typing import NoReturn

PROGRAMS = ("dev", "demo")
_MODULES = ("grpc", "rich", "alembic", "starlette", "structlog")
"""One that each part of the stack needs: the client, the commands, scheduler, console, worker."""


def replace_by(program: str) -> NoReturn:
    """Runs the stack as this process; says what to install if a part of it is missing."""
    if missing := next((module for module in _MODULES if find_spec(module) is None), None):
        sys.stderr.write(f"contentgen: the module {missing} is missing: pip install 'contentgen-grpc[all]'\n")
        sys.exit(2)
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-P", "-m", "contentgen.stack", program])
