"""HAProxy in front of the schedulers, as docs/deployment.md sets it up, with health checks. Beside `monitoring`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

# Where no scheduler is ready, as while the database is away, calls go to them all the same: they return a better error.
_SETTINGS = """
defaults
  mode http
  timeout connect 5s
  timeout client 1d
  timeout server 1d
  timeout check 1s
frontend workers_and_callers
  bind 127.0.0.1:{port} proto h2
  use_backend all if {{ nbsrv(ready) eq 0 }}
  default_backend ready
frontend metrics
  bind 127.0.0.1:{metrics}
  timeout client 5s
  http-request use-service prometheus-exporter if {{ path /metrics }}
backend ready
  option redispatch
  option httpchk GET /readyz
  default-server inter 1s fall 2 rise 1 on-marked-down shutdown-sessions
  {ready}
backend all
  option redispatch
  {all}
"""


def write_settings(path: Path, port: int, metrics: int, schedulers: Sequence[tuple[str, str, int]]) -> None:
    """`port` and `metrics` are its own; each scheduler is its name, its address, and the port of its probes."""
    checked = [
        f"server {name} {address} proto h2 check port {probes} check-proto h1" for name, address, probes in schedulers
    ]
    plain = [f"server {name} {address} proto h2" for name, address, _ in schedulers]
    path.write_text(_SETTINGS.format(port=port, metrics=metrics, ready="\n  ".join(checked), all="\n  ".join(plain)))
