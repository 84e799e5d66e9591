"""The environment beside the settings: what the CLI gets of it, and variables that look like settings and are not.

Layer: beside outcome, above config; used by main and runner.

No value is repeated: a misspelled variable may hold a secret.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path

from worker_svc.config import SettingsError, WorkerSettings

_PREFIX = "CONTENTGEN_"
_SCHEDULER_SETTINGS = frozenset(
    _PREFIX + name
    for name in (
        "ASSETS",
        "AUDIT_RETENTION",
        "CONTENT_RETENTION",
        "LEASE_TTL",
        "LISTEN",
        "LOCK_TIMEOUT",
        "MAX_ASSET_BYTES",
        "MAX_DEFERRALS",
        "MAX_PUBLISH_ATTEMPTS",
        "MAX_QUEUE_SIZE",
        "MAX_WORKER_LOSSES",
        "METRICS_ACCOUNTS",
        "PG_BINDIR",
        "PRIORITY_AGING",
        "PUBLISH_BACKOFF",
        "REQUIRE_DATABASE_URL",
        "RETENTION",
        "SCALER_LISTEN",
        "STATEMENT_TIMEOUT",
        "TLS_CERT",
        "TLS_CLIENT_CA",
        "TLS_KEY",
        "TOKENS_FILE",
        "WEBHOOK_ALLOW",
    )
)
"""Settings of the scheduler, which may share the environment."""
_OF_CONSOLE = _PREFIX + "CONSOLE_"
"""How the names of the console's settings begin: it looks at them itself."""

_KUBERNETES_VARIABLE = re.compile(
    r"\w+_(SERVICE_HOST=.*|SERVICE_PORT(_\w+)?=\d+|PORT(_\d+_(TCP|UDP|SCTP))?=\w+://.*|PORT_\d+_\w+_(PROTO|PORT|ADDR)=.*)"
)
"""What Kubernetes sets for a Service whose name begins with `contentgen`."""


def notices(environ: Mapping[str, str]) -> Iterator[str]:
    """Yields a line for each variable that is probably a mistake."""
    known = _SCHEDULER_SETTINGS | {str(field.alias) for field in WorkerSettings.model_fields.values()}
    for variable, value in sorted(environ.items()):
        if not variable.startswith(_PREFIX) or variable in known or variable.startswith(_OF_CONSOLE):
            continue
        if not _KUBERNETES_VARIABLE.fullmatch(f"{variable}={value}"):
            yield f"{variable} is no setting, and is ignored{_guess(variable, known)}"


def _guess(variable: str, known: frozenset[str]) -> str:
    by_name = {name.removeprefix(_PREFIX): name for name in known}
    found = get_close_matches(variable.removeprefix(_PREFIX), by_name, n=1, cutoff=0.75)
    return f": did you mean {by_name[found[0]]}?" if found else " (--help lists the settings)"


def variables_for_cli(names: Collection[str], environ: Mapping[str, str]) -> dict[str, str]:
    """Returns the variables of these names that are set, or whose value is in a file that NAME_FILE names.

    Raises SettingsError for a file that can't be read, or if both are set.
    """
    found, problems = {name: environ[name] for name in names if name in environ}, []
    for name in names:
        file = f"{name}_FILE"
        if not environ.get(file) or file in names:  # a CLI that reads the file itself gets its path
            continue
        if environ.get(name):
            problems.append(f"{name} and {file} exclude each other: unset one of them")
            continue
        try:
            found[name] = _held_by(Path(environ[file]))
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else "it should be text"
            problems.append(f"{file} should be the path of a file that holds {name} ({why})")
    if problems:
        raise SettingsError(problems)
    return found


def _held_by(file: Path) -> str:
    """Raises OSError, ValueError."""
    text = file.read_text(encoding="utf-8").rstrip("\r\n")
    if "\0" in text:
        raise ValueError
    return text
