"""The `reference` profile: `create` hands the work over, `status` watches it, `result` collects it.

Every attempt uses the task's id. An earlier attempt may have left its run in a service that no signal reaches, so from
the second attempt on `status` comes first, and a run that it finds is watched or collected instead of created again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from worker_svc.creators import progress
from worker_svc.creators.base import (
    Cli,
    CompletedCall,
    Creator,
    Job,
    RunReporter,
    call,
    create_arguments,
    deferred_by,
    failure,
    result_of,
)
from worker_svc.outcome import Deferred, Failed, Outcome, Reason, failed, last_document

if TYPE_CHECKING:
    from worker_svc.config import WorkerSettings

CREATE_TIMEOUT, STATUS_TIMEOUT, RESULT_TIMEOUT = 30.0, 10.0, 30.0  # seconds that one call of each may take
MAX_STATUS_CALLS = 3  # calls of `status` in a row that may fail before the attempt fails
FIRST_POLL_INTERVAL = 1.0  # seconds until the first `status`; less if the poll interval is shorter

_WAITING = frozenset({"pending", "submitted"})
_RUNNING = frozenset({"running", "processing"})
_ENDED = frozenset({"completed", "failed", "cancelled"})


class Reference(Creator):
    """The CLI of the old application, asynchronous."""

    async def run(self, job: Job, cli: Cli, report: RunReporter) -> Outcome:
        """Creates or adopts the run of `job`, watches it until it ends, and collects its result."""
        return await _ReferenceRun(job, cli, report, self._settings).outcome()


@dataclass(frozen=True, slots=True)
class _Status:
    state: str
    document: dict[str, Any]
    deferred: Deferred | None  # the deferral that the call asked for, which replaces a failure


@dataclass(slots=True)
class _ReferenceRun:
    job: Job
    cli: Cli
    report: RunReporter
    settings: WorkerSettings
    started: bool = False

    async def outcome(self) -> Outcome:
        status = await self._adopted() or await self._created()
        while isinstance(status, _Status) and status.state not in _ENDED:
            status = await self._next_status(self.settings.creator_poll_interval)
        if not isinstance(status, _Status):
            return status
        if status.state == "completed":
            return await self._collect()
        return status.deferred or failed(Reason.CREATOR_ERROR, _error(status))

    async def _adopted(self) -> _Status | Deferred | None:
        """Returns the run that an earlier attempt left, if it is running or has completed.

        If the CLI defers the call, so does this attempt: creating another run might pay for the task twice.
        """
        if self.job.attempt < 2:
            return None
        status = await self._status()
        if isinstance(status, Failed) or (isinstance(status, _Status) and status.state in {"failed", "cancelled"}):
            return None
        return self._reported(status) if isinstance(status, _Status) else status

    async def _created(self) -> _Status | Failed | Deferred:
        arguments = create_arguments(self.job, "async")
        outcome = failure(await call(self.cli, arguments, limit=CREATE_TIMEOUT))
        return outcome or await self._next_status(FIRST_POLL_INTERVAL)

    async def _next_status(self, wait: float) -> _Status | Failed | Deferred:
        await self.report.pause(min(wait, self.settings.creator_poll_interval))
        status = await self._status()
        return self._reported(status) if isinstance(status, _Status) else status

    def _reported(self, status: _Status) -> _Status:
        if status.state in _RUNNING or status.state == "completed":
            if not self.started:
                self.started = True
                self.report.processing()
            if value := progress.of_document(status.document):
                self.report.progress(*value)
        return status

    async def _status(self) -> _Status | Failed | Deferred:
        """Returns the status, or the failure of the last of three calls in a row."""
        status = await self._ask()
        for _ in range(MAX_STATUS_CALLS - 1):
            if isinstance(status, _Status):
                break
            await self.report.pause(min(self.settings.creator_poll_interval, FIRST_POLL_INTERVAL))
            status = await self._ask()
        return status

    async def _ask(self) -> _Status | Failed | Deferred:
        completed_call = await call(self.cli, self._by_id("status"), limit=STATUS_TIMEOUT)
        if isinstance(completed_call, Failed):
            return completed_call
        # A document counts whatever the exit status: some CLIs answer "failed" and exit with 1.
        if outcome := _read_status(completed_call) or failure(completed_call):
            return outcome
        begin = completed_call.stdout[:100].decode("utf-8", "replace")
        message = f"`status` printed no document with a known status; its output begins {begin!r}"
        return failed(Reason.CREATOR_INVALID_RESPONSE, message)

    async def _collect(self) -> Outcome:
        completed_call = await call(
            self.cli, self._by_id("result"), limit=RESULT_TIMEOUT, max_output=self.settings.result_output
        )
        return result_of(completed_call, self.settings)

    def _by_id(self, command: str) -> list[str]:
        return [command, f"--task-id={self.job.task_id}", "--json"]


def _read_status(completed_call: CompletedCall) -> _Status | None:
    document = last_document(completed_call.stdout.decode("utf-8", "replace"))
    state = document.get("status") if document else None
    if document is None or not isinstance(state, str) or state not in _WAITING | _RUNNING | _ENDED:
        return None
    return _Status(state, document, deferred_by(completed_call))


def _error(status: _Status) -> str:
    error = status.document.get("error")
    text = error.get("message") if isinstance(error, dict) else error
    reason = f": {text}" if isinstance(text, str) and text else ""
    return f"the CLI says that the run is {status.state}{reason}"
