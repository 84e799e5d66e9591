"""What one caller, one connection and the server as a whole may hold. Part of `api`.

Callers are told apart by their token's name; where no token is asked (or, for health, none is needed) by their address.
gRPC keeps what concerns connections, `callers` what concerns callers, `guard` the time that a message may take.
"""

from __future__ import annotations

import resource
from dataclasses import dataclass

_OPEN_FILES_FOR_OTHERS = 200
"""Connections to the database, logs and the like: they must not wait for callers to go."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of a server; the defaults leave any one caller half of the calls that the server takes at most."""

    calls: int = 1_000
    """Calls of a caller that are under way, the following ones not among them."""
    waits: int = 2_000
    """WaitTask calls of a caller."""
    watches: int = 2_000
    """WatchTasks streams of a caller; the 5,000 of all of them come on top."""
    leases: int = 5_000
    """Lease streams of a caller: all workers may share one token."""
    probes: int = 100
    """Health calls of an address."""
    all_probes: int = 1_000
    """Health calls of all addresses together: nobody has to say who he is for them."""
    arriving: int = 100
    """Messages of a caller that are on their way, 4 MiB each at most; further calls wait with theirs."""
    message_within: float = 30.0
    """Seconds that a call's one message may take: 4 MiB at 1.1 Mbit/s. So long does one that dribbles hold its call."""
    all_calls: int = 10_000
    """Calls of all callers together; further ones are refused by gRPC itself."""
    pending: int = 10_000
    """Calls that have come and are not begun yet: gRPC drops them at random from here on, all of them at twice that."""
    streams: int = 1_024
    """Calls on one connection; a client keeps further ones back until some have ended."""
    connections: int = 10_000
    """Connections of all callers together, or as many as the open files of the process allow."""
    handshake_within: float = 10.0
    """Seconds from the connection to the first HTTP/2 settings, TLS included."""
    idle: float = 300.0
    """Seconds after which a connection without a call is closed; a client connects anew when it needs to."""
    metadata: int = 16 * 1024
    """Bytes of a call's headers."""

    def options(self) -> tuple[tuple[str, int], ...]:
        """What gRPC keeps by itself, under its names."""
        return (
            ("grpc.max_concurrent_streams", self.streams),
            ("grpc.max_allowed_incoming_connections", min(self.connections, _connections_possible())),
            ("grpc.server_handshake_timeout_ms", round(self.handshake_within * 1e3)),
            ("grpc.max_connection_idle_ms", round(self.idle * 1e3)),
            ("grpc.max_metadata_size", self.metadata),  # both the same: between the two it refuses at random
            ("grpc.absolute_max_metadata_size", self.metadata),
            ("grpc.server.max_pending_requests", self.pending),
            ("grpc.server.max_pending_requests_hard_limit", 2 * self.pending),
        )


def _connections_possible() -> int:
    """As many as the process may have files open, others aside; half of them where that is few."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return 1_000_000
    return max(files - _OPEN_FILES_FOR_OTHERS, files // 2)
