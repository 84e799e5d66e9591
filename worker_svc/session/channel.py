"""Channels to schedulers: options, credentials, and the next address.

Layer: inside session.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import cycle

import grpc
import grpc.aio

from worker_svc.config import addresses
from worker_svc.session.credentials import Credentials

KEEPALIVE_TIME_MS = 10_000
"""Between two pings. The scheduler's minimum interval must not be larger."""
KEEPALIVE_TIMEOUT_MS = 5_000

_SHUFFLED = json.dumps({"loadBalancingConfig": [{"pick_first": {"shuffleAddressList": True}}]})


class Dialer:
    """Opens channels, each to the next of the configured addresses."""

    def __init__(self, target: str, credentials: Credentials) -> None:
        self._targets = cycle(addresses(target))
        self._credentials = credentials

    @property
    def metadata(self) -> Sequence[tuple[str, str]]:
        token = self._credentials.current.token
        return (("authorization", f"Bearer {token}"),) if token else ()

    def dial(self, max_pause: float) -> tuple[str, grpc.aio.Channel]:
        """Returns the next address and a new channel to it. gRPC's own pauses take at most `max_pause` seconds."""
        target = next(self._targets)
        return target, self.channel(target, max_pause)

    def channel(self, target: str, max_pause: float) -> grpc.aio.Channel:
        """Returns a new channel to an address; it connects at its first call."""
        options = channel_options(max_pause)
        tls = self._credentials.current.tls
        if tls is None:
            return grpc.aio.insecure_channel(target, options)
        credentials = grpc.ssl_channel_credentials(tls.ca, tls.key, tls.cert)
        return grpc.aio.secure_channel(target, credentials, options)


def channel_options(max_pause: float) -> list[tuple[str, int | str]]:
    """Options that detect a dead peer within seconds and never wait longer than `max_pause` seconds."""
    pause_ms = max(1, int(max_pause * 1000))
    return [
        ("grpc.keepalive_time_ms", KEEPALIVE_TIME_MS),
        ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
        ("grpc.http2.ping_timeout_ms", KEEPALIVE_TIMEOUT_MS),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.initial_reconnect_backoff_ms", min(200, pause_ms)),
        ("grpc.min_reconnect_backoff_ms", pause_ms),  # also the time limit of one attempt to connect
        ("grpc.max_reconnect_backoff_ms", pause_ms),
        ("grpc.use_local_subchannel_pool", 1),  # a new channel does not inherit an old one's backoff
        ("grpc.service_config", _SHUFFLED),
    ]
