"""A channel to the schedulers, and `Caller` for code that calls the stubs itself.

Layer: client, below the transports.
"""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import grpc.aio

from contentgen.client.errors import raised_for
from contentgen.client.retry_policy import service_config
from contentgen.client.transport import Page, PageRequest, Request, Response

_OPTIONS = (
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 10_000),  # keepalive alone does not find a dead peer
    ("grpc.initial_reconnect_backoff_ms", 200),  # a replica that is back is used again before the next one goes
    ("grpc.max_reconnect_backoff_ms", 5_000),
    ("grpc.service_config", service_config()),
)


def open_channel(target: str, credentials: grpc.ChannelCredentials | None) -> grpc.Channel:
    """A channel that calls a target's addresses in turn; what is safe to retry is retried on UNAVAILABLE.

    Plaintext without `credentials`.
    """
    if credentials is None:
        return grpc.insecure_channel(target, _OPTIONS)
    return grpc.secure_channel(target, credentials, _OPTIONS)


def open_aio_channel(target: str, credentials: grpc.ChannelCredentials | None) -> grpc.aio.Channel:
    """The same for the event loop that runs."""
    if credentials is None:
        return grpc.aio.insecure_channel(target, _OPTIONS)
    return grpc.aio.secure_channel(target, credentials, _OPTIONS)


class Caller:
    """Makes calls of stubs with a deadline and the token."""

    def __init__(self, token: str | None, timeout: float) -> None:
        """`timeout`: seconds that a call may take, beyond what it asks the scheduler to wait."""
        self.metadata = (("authorization", f"Bearer {token}"),) if token else ()
        self.timeout = timeout

    def __call__(
        self, rpc: grpc.UnaryUnaryMultiCallable[Request, Response], request: Request, *, waits: float = 0.0
    ) -> Response:
        """The answer to one call. Raises the exceptions of `raised_for`.

        `waits`: seconds that the scheduler may work or wait before it answers.
        """
        try:
            return rpc(request, timeout=self.timeout + waits, metadata=self.metadata)
        except grpc.RpcError as error:
            if (better := raised_for(error)) is not error:
                raise better from error
            raise

    def pages(self, rpc: grpc.UnaryUnaryMultiCallable[PageRequest, Page], request: PageRequest) -> Iterator[Page]:
        """The answers to a List, page by page up to the last; `request` moves along."""
        while True:
            page = self(rpc, request)
            yield page
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token
