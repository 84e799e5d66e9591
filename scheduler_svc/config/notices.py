"""Warnings at start about the environment: variables that are probably mistakes.

Part of `scheduler_svc.config`. Values are not shown: a misspelled variable may hold a secret.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches

from scheduler_svc.config.settings import PREFIX, Settings

_OF_OTHERS = frozenset(
    PREFIX + name
    for name in (
        "DRAIN_TIMEOUT",
        "QUEUE_SIZE",
        "RUN_ONE",
        "RUN_ONE_WAIT",
        "SCHEDULER",
        "SLOTS",
        "TLS_CA",
        "TLS_CLIENT_CERT",
        "TLS_CLIENT_KEY",
        "TOKEN",
        "TOKEN_FILE",
        "WORKER_ID",
    )
)
"""Settings of the worker and the operators' command, which may share the environment."""
_OF_CONSOLE = PREFIX + "CONSOLE_"
"""How the names of the console's settings begin: it looks at them itself."""

_OF_KUBERNETES = re.compile(
    r"\w+_(SERVICE_HOST=.*|SERVICE_PORT(_\w+)?=\d+|PORT(_\d+_(TCP|UDP|SCTP))?=\w+://.*|PORT_\d+_\w+_(PROTO|PORT|ADDR)=.*)"
)
"""Variables of Kubernetes for a Service whose name begins with `contentgen`."""


def notices(environ: Mapping[str, str]) -> Iterator[str]:
    """Yields a line for each variable that is probably a mistake."""
    if environ.get("DATABASE_URL") == "" and not environ.get("DATABASE_URL_FILE"):
        yield "DATABASE_URL is empty, which counts as unset: an embedded PostgreSQL is used"
    known = _OF_OTHERS | {_variable(name) for name in Settings.model_fields}
    for variable, value in sorted(environ.items()):
        if not variable.startswith(PREFIX) or variable in known or variable.startswith(_OF_CONSOLE):
            continue
        if not _OF_KUBERNETES.fullmatch(f"{variable}={value}"):
            yield f"{variable} is no setting, and is ignored{_guess(variable, known)}"


def _variable(name: str) -> str:
    field = Settings.model_fields[name]
    return str(field.validation_alias or PREFIX + name.upper())


def _guess(variable: str, known: frozenset[str]) -> str:
    by_name = {name.removeprefix(PREFIX): name for name in known}
    found = get_close_matches(variable.removeprefix(PREFIX), by_name, n=1, cutoff=0.75)
    return f": did you mean {by_name[found[0]]}?" if found else " (--help lists the settings)"
