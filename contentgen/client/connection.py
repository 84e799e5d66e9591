"""Channels to the schedulers: how gRPC itself chooses one, and what it retries on another.

Layer: client, below the transports.
"""

from __future__ import annotations

import json
import re

import grpc
import grpc.aio

from contentgen.rpcs import METHODS, RPCS

_POLICY = {
    "maxAttempts": 5,
    "initialBackoff": "0.2s",
    "maxBackoff": "2s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"],
}


def service_config() -> str:
    """Returns the policy as JSON, for the channel option `grpc.service_config`."""
    repeatable = [METHODS[name] for name, rpc in RPCS.items() if rpc.repeatable]
    names = [{"service": method.containing_service.full_name, "method": method.name} for method in repeatable]
    return json.dumps(
        {
            "loadBalancingConfig": [{"round_robin": {}}],  # else all clients of a list would call its first address
            "methodConfig": [{"name": names, "retryPolicy": _POLICY}],
        }
    )


_OPTIONS = (
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 10_000),  # keepalive alone does not find a dead peer
    ("grpc.http2.max_pings_without_data", 0),  # no limit: else a dead peer of a quiet watch is found after a minute
    ("grpc.initial_reconnect_backoff_ms", 200),  # a replica that is back is used again before the next one goes
    ("grpc.max_reconnect_backoff_ms", 5_000),
    ("grpc.service_config", service_config()),
)

_HERE = re.compile(
    r"(?:(?:dns:(?:///)?)?(?:127\.[\d.]+|localhost|\[::1\])|ipv4:127\.[\d.]+|ipv6:\[::1\])(?::\d+)?|unix(?:-abstract)?:.*"
)


def stays_here(target: str) -> bool:
    """Returns whether nothing that is sent to a target, or to several addresses by comma, leaves this machine."""
    return all(_HERE.fullmatch(address.strip()) for address in target.split(","))


def open_channel(target: str, credentials: grpc.ChannelCredentials | None) -> grpc.Channel:
    """Returns a channel that calls a target's addresses in turn; what is safe to retry is retried on UNAVAILABLE.

    Plaintext without `credentials`.
    """
    if credentials is None:
        return grpc.insecure_channel(target, _OPTIONS)
    return grpc.secure_channel(target, credentials, _OPTIONS)


def open_aio_channel(target: str, credentials: grpc.ChannelCredentials | None) -> grpc.aio.Channel:
    """Returns such a channel for the event loop that runs."""
    if credentials is None:
        return grpc.aio.insecure_channel(target, _OPTIONS)
    return grpc.aio.secure_channel(target, credentials, _OPTIONS)
