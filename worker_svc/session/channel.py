"""Channels to schedulers: the next address, the pause before it is dialled, and why a scheduler ended a stream."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from contextlib import suppress
from itertools import cycle

import grpc
import grpc.aio
import structlog
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from worker_svc.config import addresses
from worker_svc.session.credentials import Credentials

# The pause before each reconnect: full jitter, doubling with each failure, a heartbeat interval at most.

MIN_BOUND = 0.2  # seconds that the first pause takes at most
DEFAULT_MAX_PAUSE = 2.0  # seconds that a pause takes at most until a heartbeat interval is known
_MAX_DOUBLINGS = 16


class ReconnectBackoff:
    """The pauses of one worker, without end."""

    def __init__(self) -> None:
        self.max_pause = DEFAULT_MAX_PAUSE
        """Seconds that a pause takes at most; the heartbeat interval once it is known."""
        self._failures = 0

    def pause(self) -> float:
        """Returns the seconds until the next attempt, and counts a failure."""
        bound = min(self.max_pause, MIN_BOUND * 2 ** min(self._failures, _MAX_DOUBLINGS))
        self._failures += 1
        return random.uniform(0, bound)  # noqa: S311 - spreads reconnects, not a secret

    def succeeded(self, lasted: float) -> None:
        """Notes that a stream ended after `lasted` seconds; if that was long enough, pauses start from the first."""
        if lasted >= self.max_pause:
            self._failures = 0


# Why a scheduler ended a stream with a status, so that an operator knows what to do.

_log = structlog.get_logger()


def error_info(error: grpc.aio.AioRpcError) -> error_details_pb2.ErrorInfo:
    """Returns the `google.rpc.ErrorInfo` of a status; an empty one if it is missing or malformed."""
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin" and isinstance(value, bytes):
            with suppress(DecodeError):
                info = error_details_pb2.ErrorInfo()
                for detail in status_pb2.Status.FromString(value).details:
                    detail.Unpack(info)  # if it is one
                return info
    return error_details_pb2.ErrorInfo()


def log_refusal(error: grpc.aio.AioRpcError) -> None:
    """Logs what a status means for this worker, which dials again in any case."""
    info = error_info(error)
    facts = {"code": error.code().name, "details": (error.details() or "")[:500]}
    if info.reason == "WORKER_ID_IN_USE":
        _log.error(
            "another process has this worker id; give each worker its own CONTENTGEN_WORKER_ID or data folder",
            action="session.worker_id_in_use",
            hostname=info.metadata.get("hostname", ""),
            **facts,
        )
    elif error.code() in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
        _log.error(
            "the scheduler refuses CONTENTGEN_TOKEN", action="session.token_refused", reason=info.reason, **facts
        )
    elif error.code() is grpc.StatusCode.UNAVAILABLE:
        _log.warning("no scheduler answers", action="session.unavailable", reason=info.reason, **facts)
    else:
        _log.error("the scheduler ended the stream", action="session.ended", reason=info.reason, **facts)


KEEPALIVE_TIME_MS = 10_000
"""Between two pings. The scheduler's minimum interval must not be larger."""
KEEPALIVE_TIMEOUT_MS = 5_000
_SHUFFLED = json.dumps({"loadBalancingConfig": [{"pick_first": {"shuffleAddressList": True}}]})


class Dialer:
    """Opens channels; `targets` has the configured addresses, in turn and without end."""

    def __init__(self, target: str, credentials: Credentials) -> None:
        self.targets = cycle(addresses(target))
        self._credentials = credentials

    @property
    def metadata(self) -> Sequence[tuple[str, str]]:
        token = self._credentials.current.token
        return (("authorization", f"Bearer {token}"),) if token else ()

    def channel(self, target: str, max_pause: float) -> grpc.aio.Channel:
        """Returns a new channel to an address; it connects at its first call.

        gRPC's own pauses take at most `max_pause` seconds.
        """
        options = channel_options(max_pause)
        tls = self._credentials.current.tls
        if tls is None:
            return grpc.aio.insecure_channel(target, options)
        credentials = grpc.ssl_channel_credentials(tls.ca, tls.key, tls.cert)
        return grpc.aio.secure_channel(target, credentials, options)


def channel_options(max_pause: float) -> list[tuple[str, int | str]]:
    """Returns the options that detect a dead peer within seconds and never wait longer than `max_pause` seconds."""
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
