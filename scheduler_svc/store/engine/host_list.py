"""The servers that a database's URL names, as libpq's options: hosts by comma, with a port each or one for all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_PORT = 5432


class HostList:
    """The hosts that are left to try."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = dict(options)
        hosts = str(options.get("host", "")).split(",")
        ports = str(options.get("port", "")).split(",")
        # By `hostaddr` a host has another name than it is connected to by.
        self._single = len(hosts) == 1 or "hostaddr" in options
        self._left = list(zip(hosts, ports * len(hosts) if len(ports) == 1 else ports, strict=False))

    @property
    def options(self) -> dict[str, Any]:
        """The options that connect to the first host that accepts a connection."""
        if self._single:
            return self._options
        return self._options | _named(*zip(*self._left, strict=True))

    def each(self) -> Iterator[dict[str, Any]]:
        """The options for each host alone; empty if the URL names one host."""
        if not self._single:
            for host, port in self._left:
                yield {**self._options, **_named((host,), (port,)), "target_session_attrs": "any"}

    def leave_out(self, host: str, port: int) -> bool:
        """Does not try this host again. Returns whether it was in the list and others are left."""
        others = [it for it in self._left if it[0] != host or int(it[1] or _PORT) != port]
        left_out = not self._single and 0 < len(others) < len(self._left)
        if left_out:
            self._left = others
        return left_out


def _named(hosts: tuple[str, ...], ports: tuple[str, ...]) -> dict[str, str]:
    return {"host": ",".join(hosts), "port": ",".join(ports)}
