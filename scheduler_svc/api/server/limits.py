"""The limits of one caller, one connection and the whole server. Part of `api`.

A caller is known by its token's name, or by its address if the call has no token. gRPC enforces the limits of
connections, `callers` those of callers, `error_interceptor` the time of a message.
"""

from __future__ import annotations

import resource
from dataclasses import dataclass, replace

_OPEN_FILES_FOR_OTHERS = 200
"""Files that the process needs besides, such as connections to the database."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The defaults let one caller use at most half of the calls of the server."""

    calls: int = 1_000
    """Calls of a caller in progress, other than the following kinds."""
    waits: int = 2_000
    """WaitTask calls of a caller."""
    watches: int = 2_000
    """WatchTasks streams of a caller; 5,000 of all callers are a further limit."""
    leases: int = 5_000
    """Lease streams of a caller, since all workers may share one token."""
    probes: int = 100
    """Health checks of an address."""
    all_probes: int = 1_000
    """Health checks of all addresses together; a further one ends the oldest, and is not refused."""
    health_watches: int = 10
    """Health watches of an address."""
    all_health_watches: int = 1_000
    """Health watches of all addresses together."""
    receiving: int = 100
    """Messages of a caller that are being received, each of up to 4 MiB; further ones wait."""
    message_timeout: float = 30.0
    """Seconds that the message of a call may take: 4 MiB at 1.1 Mbit/s."""
    open_message_timeout: float = 2.0
    """The same where no token is needed: such messages are small."""
    all_calls: int = 10_000
    """Calls of all callers together; gRPC refuses further ones."""
    pending: int = 10_000
    """Calls that have not started: above it gRPC drops some at random, above twice as many all."""
    streams: int = 1_024
    """Calls on one connection; a client queues further ones."""
    connections: int = 10_000
    """Connections of all callers together; fewer if the limit of open files is lower."""
    handshake_timeout: float = 10.0
    """Seconds from the connection to the first HTTP/2 settings, TLS included."""
    idle_timeout: float = 300.0
    """Seconds after which a connection without a call is closed; a client reconnects when needed."""
    metadata: int = 16 * 1024
    """Bytes of a call's headers."""

    def without_tokens(self) -> Limits:
        """The limits of a server whose calls need no token."""
        return replace(self, calls=self.probes, message_timeout=self.open_message_timeout)

    def options(self) -> tuple[tuple[str, int], ...]:
        """The limits that gRPC enforces, under its names."""
        return (
            ("grpc.max_concurrent_streams", self.streams),
            ("grpc.max_allowed_incoming_connections", min(self.connections, _max_connections())),
            ("grpc.server_handshake_timeout_ms", round(self.handshake_timeout * 1e3)),
            ("grpc.max_connection_idle_ms", round(self.idle_timeout * 1e3)),
            ("grpc.max_metadata_size", self.metadata),  # both the same, since between them it refuses at random
            ("grpc.absolute_max_metadata_size", self.metadata),
            ("grpc.server.max_pending_requests", self.pending),
            ("grpc.server.max_pending_requests_hard_limit", 2 * self.pending),
        )


def _max_connections() -> int:
    """What the limit of open files leaves for connections, at least half of it."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return 1_000_000
    return max(files - _OPEN_FILES_FOR_OTHERS, files // 2)
