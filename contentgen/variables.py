"""The environment variables of all parts of contentgen: so that each can name those that are probably mistakes.

Values are not shown: a misspelled variable may hold a secret.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

PREFIX = "CONTENTGEN_"
NAMES = frozenset({
    "CONTENTGEN_ACCOUNT", "CONTENTGEN_ASSETS", "CONTENTGEN_AUDIT_RETENTION", "CONTENTGEN_CELL",
    "CONTENTGEN_CONSOLE_BEHIND_PROXY", "CONTENTGEN_CONSOLE_DESIGN", "CONTENTGEN_CONSOLE_HOSTS",
    "CONTENTGEN_CONSOLE_LISTEN", "CONTENTGEN_CONSOLE_PREFIX", "CONTENTGEN_CONSOLE_TLS_CERT",
    "CONTENTGEN_CONSOLE_TLS_KEY", "CONTENTGEN_CONSOLE_TOKEN_HEADER", "CONTENTGEN_CONSOLE_URL",
    "CONTENTGEN_CONTENT_RETENTION", "CONTENTGEN_CONTEXT", "CONTENTGEN_DATA_DIR", "CONTENTGEN_DRAIN_TIMEOUT",
    "CONTENTGEN_INSECURE", "CONTENTGEN_LABELS", "CONTENTGEN_LEASE_TTL", "CONTENTGEN_LISTEN", "CONTENTGEN_LOCK_TIMEOUT",
    "CONTENTGEN_LOG_FORMAT", "CONTENTGEN_LOG_LEVEL", "CONTENTGEN_MAX_ASSET_BYTES", "CONTENTGEN_MAX_DEFERRALS",
    "CONTENTGEN_MAX_PUBLISH_ATTEMPTS", "CONTENTGEN_MAX_QUEUE_SIZE", "CONTENTGEN_MAX_WORKER_LOSSES",
    "CONTENTGEN_METRICS_ACCOUNTS", "CONTENTGEN_METRICS_LISTEN", "CONTENTGEN_OIDC_CLIENT_ID",
    "CONTENTGEN_OIDC_CLIENT_SECRET_FILE", "CONTENTGEN_OIDC_ISSUER", "CONTENTGEN_OIDC_ROLES",
    "CONTENTGEN_OIDC_TOKEN_FILE", "CONTENTGEN_PG_BINDIR", "CONTENTGEN_POOL_URL", "CONTENTGEN_PRIORITY_AGING",
    "CONTENTGEN_PUBLISH_BACKOFF", "CONTENTGEN_QUEUE_SIZE", "CONTENTGEN_READ_MAX_LAG", "CONTENTGEN_READ_URL",
    "CONTENTGEN_REQUIRE_DATABASE_URL", "CONTENTGEN_RETENTION", "CONTENTGEN_RUN", "CONTENTGEN_RUN_ONE",
    "CONTENTGEN_RUN_ONE_WAIT", "CONTENTGEN_SCALER_LISTEN", "CONTENTGEN_SCHEDULER", "CONTENTGEN_SLOTS",
    "CONTENTGEN_STATEMENT_TIMEOUT", "CONTENTGEN_TLS_CA", "CONTENTGEN_TLS_CERT", "CONTENTGEN_TLS_CLIENT_CA",
    "CONTENTGEN_TLS_CLIENT_CERT", "CONTENTGEN_TLS_CLIENT_KEY", "CONTENTGEN_TLS_KEY", "CONTENTGEN_TOKEN",
    "CONTENTGEN_TOKENS_FILE", "CONTENTGEN_TOKEN_FILE", "CONTENTGEN_WEBHOOK_ALLOW", "CONTENTGEN_WORKER_ID",
    "DATABASE_URL", "DATABASE_URL_FILE",
})  # fmt: skip
"""Of the services' settings, of the command, and of what a worker gives its CLIs: what one of them does not know may be
another one's. Made by `python -m verification.generated.settings --write`."""

_OF_KUBERNETES = re.compile(
    r"\w+_(SERVICE_HOST=.*|SERVICE_PORT(_\w+)?=\d+|PORT(_\d+_(TCP|UDP|SCTP))?=\w+://.*|PORT_\d+_\w+_(PROTO|PORT|ADDR)=.*)"
)
"""Variables of Kubernetes for a Service whose name begins with `contentgen`."""


def notices(environ: Mapping[str, str]) -> Iterator[str]:
    """Yields a line for each variable that begins as ours do, and is none of them."""
    for variable, value in sorted(environ.items()):
        if not variable.startswith(PREFIX) or variable in NAMES or _OF_KUBERNETES.fullmatch(f"{variable}={value}"):
            continue
        yield f"{variable} is no setting, and is ignored{_guess(variable)}"


def _guess(variable: str) -> str:
    from difflib import get_close_matches  # seldom needed, and each start would load it

    by_name = {name.removeprefix(PREFIX): name for name in NAMES}
    matches = get_close_matches(variable.removeprefix(PREFIX), by_name, n=1, cutoff=0.75)
    return f": did you mean {by_name[matches[0]]}?" if matches else ""
