"""Keeps the hostile accounts worth attacking: what the attack deactivates, pauses or deletes is there again soon.

Without it most calls would end at the first check: all accounts are deactivated, all tasks cancelled, within a second.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import grpc

from contentgen.v1 import account_service_pb2 as account_pb
from contentgen.v1 import task_service_pb2 as task_pb
from contentgen.v1 import worker_pool_service_pb2 as pool_pb
from contentgen.v1.account_service_pb2_grpc import AccountServiceStub
from contentgen.v1.task_service_pb2_grpc import TaskServiceStub
from contentgen.v1.worker_pool_service_pb2_grpc import WorkerPoolServiceStub
from lab.fuzz.services import HOSTILE_ACCOUNTS
from lab.fuzz.values import LIMITS

_EACH = 1.0
"""Seconds between two rounds."""
_WITHIN = 30.0
_ATTACKED_MEANWHILE = (grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.RESOURCE_EXHAUSTED)
"""How a submit may end: an account is deactivated again, or has a limit again."""


class Gardener:
    """An operator who tends the accounts, in a thread."""

    def __init__(self, target: str, token: str) -> None:
        self._channel = grpc.insecure_channel(target)
        self._metadata = (("authorization", f"Bearer {token}"),)
        self._accounts = AccountServiceStub(self._channel)
        self._tasks = TaskServiceStub(self._channel)
        self._pool = WorkerPoolServiceStub(self._channel)
        self._stopped = threading.Event()
        self.failures: list[str] = []

    @contextmanager
    def tending(self) -> Iterator[None]:
        """Rounds go on until the block ends."""
        thread = threading.Thread(target=self._work, name="gardener")
        thread.start()
        try:
            yield
        finally:
            self._stopped.set()
            thread.join()
            self._channel.close()

    def _work(self) -> None:
        while not self._stopped.is_set():
            try:
                self._round()
            except grpc.RpcError as error:
                self.failures.append(str(error))
            self._stopped.wait(_EACH)

    def _round(self) -> None:
        for account_id in HOSTILE_ACCOUNTS:
            account = account_pb.Account(account_id=account_id, active=True)  # without a limit
            update = account_pb.UpdateAccountRequest(account=account)
            update.update_mask.paths.extend(["active", *LIMITS])
            self._accounts.UpdateAccount(update, timeout=_WITHIN, metadata=self._metadata)
            resume = pool_pb.ResumeDispatchRequest(account_id=account_id)
            self._pool.ResumeDispatch(resume, timeout=_WITHIN, metadata=self._metadata)
        batch = task_pb.BatchSubmitTasksRequest(
            requests=[
                task_pb.SubmitTaskRequest(account_id=account_id, topic="to be attacked", auto_approve=approve)
                for account_id in HOSTILE_ACCOUNTS
                for approve in (True, False) * 3
            ]
        )
        # One for RetryTask. Of many failures in a row the honest worker would think that its CLI is broken.
        failing = {"status": "3"}
        batch.requests.add(account_id=HOSTILE_ACCOUNTS[0], topic="to fail", auto_retry=False, creator_options=failing)
        try:
            self._tasks.BatchSubmitTasks(batch, timeout=_WITHIN, metadata=self._metadata)
        except grpc.RpcError as error:
            if error.code() not in _ATTACKED_MEANWHILE:
                raise
