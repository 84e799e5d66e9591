"""How PostgreSQL is connected to, pooled or not: nothing waits for ever for a host that vanished. Part of `store`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import psycopg2
import sqlalchemy as sa
from psycopg2 import extensions

from scheduler_svc.store.engine.lineage import Lineage

_DEFAULTS: Mapping[str, Any] = {
    "connect_timeout": 5,  # for each host
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 8_000,
}
"""libpq's parameters. A host that says nothing for 8 to 11 s is given up: callers wait 10 s by default."""

# It sets any value, so that no reload of the server's configuration takes it away from the session.
SET_DURABLE = (
    "SELECT set_config('synchronous_commit', coalesce(nullif(setting, 'off'), 'on'), false)"
    " FROM current_setting('synchronous_commit') AS setting"
)
"""Commits durably from now on, whatever the server, database or role says."""


def defaults(url: sa.URL, application: str = "contentgen") -> dict[str, Any]:
    """What the URL itself does not set. `application`: the name of the sessions."""
    parameters = {"application_name": application, **_DEFAULTS}
    return {name: value for name, value in parameters.items() if name not in url.query}


def connect(url: sa.URL, lineage: Lineage | None = None) -> extensions.connection:
    """A connection outside of any pool that commits each statement. Raises psycopg2.Error."""
    arguments, options = url.get_dialect()().create_connect_args(url)
    dial = lineage.connect if lineage else psycopg2.connect
    made: extensions.connection = dial(*arguments, **{**defaults(url), **options})
    made.autocommit = True
    return made
