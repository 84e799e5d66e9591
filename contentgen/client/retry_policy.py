"""How gRPC itself chooses a scheduler, and what it retries on another: the service config of the client's channel.

Layer: client, below `connection`.
"""

from __future__ import annotations

import json

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
