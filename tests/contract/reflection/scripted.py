"""A worker that knows the protos by reflection only: it does what a test says, one message at a time."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any, Self

from tests.contract.reflected import Reflected, Stream

LEASE = "contentgen.v1.WorkerService/Lease"
_numbers = itertools.count(1)


def hello(**fields: Any) -> dict[str, Any]:
    """A hello with all that is required, of a worker that nobody else is."""
    number = next(_numbers)
    return {"worker_id": f"w{number}", "folder_id": f"f{number}", "session_number": 1, "slots": 3} | fields


class Worker:
    """One stream. Entering it says hello; leaving it cancels the stream, as a lost connection would."""

    def __init__(self, reflected: Reflected) -> None:
        self._reflected = reflected
        self._hello = hello()
        self.worker_id: str = self._hello["worker_id"]
        self._leases: dict[str, Mapping[str, Any]] = {}
        self._assignment = self._heartbeats = self._reports = 0
        self._stream: Stream

    async def __aenter__(self) -> Self:
        self._stream = await self._reflected.stream(LEASE)
        await self._stream.write(hello=self._hello)
        await self._read("welcome")
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stream.__aexit__(*error)

    async def take(self, task_id: str) -> None:
        """Takes tasks until it has this one; the others it keeps."""
        while task_id not in self._leases:
            await self.heartbeat(1)
            await self._read("assignment")

    async def start(self, task_id: str) -> None:
        await self.take(task_id)
        await self._report(task_id, "processing", {})

    async def complete(self, task_id: str, body: str = "an article", **result: Any) -> None:
        await self._report(task_id, "completed", {"result": {"body": body, **result}})
        del self._leases[task_id]

    async def fail(self, task_id: str, reason: str = "CREATOR_ERROR") -> None:
        await self._report(task_id, "failed", {"error": {"reason": reason}})
        del self._leases[task_id]

    async def defer(self, task_id: str, retry_after: str = "60s") -> None:
        await self._report(task_id, "deferred", {"retry_after": retry_after})
        del self._leases[task_id]

    async def give_back(self, task_id: str, reason: str, *, started: bool = False) -> None:
        await self._report(task_id, "released", {"reason": f"RELEASE_REASON_{reason}", "started": started})
        del self._leases[task_id]

    async def answer_poll(self) -> None:
        """Waits for a poll, and answers that nothing has changed."""
        poll = await self._read("poll_now")
        await self.heartbeat(0, last_poll_id=poll["poll_id"])

    async def heartbeat(self, free_slots: int, **fields: Any) -> None:
        self._heartbeats += 1
        held = [{"lease_id": it["lease_id"], "attempt": it["attempt"]} for it in self._leases.values()]
        await self._stream.write(
            heartbeat={
                "number": self._heartbeats,
                "free_slots": free_slots,
                "held_leases": held,
                "last_assignment": self._assignment,
                **fields,
            }
        )
        await self._read("acknowledgement")

    async def _report(self, task_id: str, what: str, update: Mapping[str, Any]) -> None:
        lease = self._leases[task_id]
        self._reports += 1
        named = {"lease_id": lease["lease_id"], "attempt": lease["attempt"], what: update}
        await self._stream.write(report={"number": self._reports, "updates": [named]})
        (result,) = (await self._read("acknowledgement"))["results"]
        assert result["outcome"] == "UPDATE_OUTCOME_COMMITTED"

    async def _read(self, kind: str) -> Mapping[str, Any]:
        """The next message of a kind; assignments before it are kept, others passed over."""
        while True:
            message = await self._stream.read()
            if assignment := message.get("assignment"):
                self._assignment = assignment["number"]
                self._leases |= {lease["task"]["task_id"]: lease for lease in assignment["leases"]}
            if kind in message:
                found: Mapping[str, Any] = message[kind]
                return found
