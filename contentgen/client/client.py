"""`ContentGenerationClient`: one method a call, plain dicts out.

Layer: the top of client; the methods stand in files of their own, by what they are about.
"""

from __future__ import annotations

from typing import Self

import grpc

from contentgen.client.accounts import AccountMethods, WorkerMethods
from contentgen.client.connection import Caller, Connection, open_channel
from contentgen.client.contents import ContentMethods
from contentgen.client.following import FollowingMethods
from contentgen.client.steering import SteeringMethods
from contentgen.client.system import SystemMethods
from contentgen.client.tasks import TaskMethods

TIMEOUT = 10.0
"""Seconds that a call may take, beyond what the scheduler is asked to wait."""


class ContentGenerationClient(
    TaskMethods, FollowingMethods, SteeringMethods, ContentMethods, AccountMethods, WorkerMethods, SystemMethods
):
    """The schedulers at a target, from a thread's point of view. Any number of threads may share one.

    Methods raise ResourceNotFoundException, InvalidStateException, and for the rest (a bad field, no scheduler, a
    deadline) `grpc.RpcError`, whose `code()` and `details()` say more. Calls that are safe to repeat are, while the
    scheduler is UNAVAILABLE, for a few seconds. Each call has a deadline.

    Example:
        >>> with ContentGenerationClient("127.0.0.1:50051") as client:
        ...     task_id = client.submit_task(account_id=1, topic="人工智能的未来发展", priority=8)
        ...     print(client.wait(task_id, timeout=60)["status"])
    """

    def __init__(
        self,
        target: str,
        *,
        token: str | None = None,
        credentials: grpc.ChannelCredentials | None = None,
        timeout: float = TIMEOUT,
        channel: grpc.Channel | None = None,
    ) -> None:
        """Connects at the first call.

        Args:
            target: any gRPC target, such as `host:50051` or `ipv4:10.0.0.1:50051,10.0.0.2:50051`; calls go to its
                addresses in turn, and past those that are away.
            token: sent with every call, where the scheduler asks for one.
            credentials: of a TLS channel, such as `grpc.ssl_channel_credentials(ca)`; None: plaintext.
            timeout: seconds that a call may take, beyond what it asks the scheduler to wait.
            channel: used in place of one to `target`, and left open by `close`; it repeats no call by itself.
        """
        made = open_channel(target, credentials) if channel is None else channel
        self._connection = Connection(made, owned=channel is None, call=Caller(token, timeout))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends what is under way, watches too, in whichever thread. Calls after it raise ValueError."""
        self._connection.close()
