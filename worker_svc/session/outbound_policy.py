"""Chooses what a stream says next: reports as they gather, states when they are due or worth it, parts in between.

Layer: inside session; one for each stream, since messages are numbered within a stream.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from contentgen.v1 import worker_service_pb2 as pb
from worker_svc.session import wire
from worker_svc.session.deadlines import Renewal, StateLog
from worker_svc.session.outbox import Update
from worker_svc.session.parts import Parts
from worker_svc.session.worker import Worker

STATES_TO_QUIESCE = 2
"""States without free slots to have acknowledged before a draining worker may go: a claim that began before the first
was committed has been sent by the time the second is."""
REPORTS_AT_ONCE = 2
"""Reports under way without a pause between them. What ends meanwhile gathers, so that batches grow with load."""
REPORT_PAUSE = 0.1
"""Seconds between reports above that: acknowledgements that are slow, or don't come, hold nothing back for long."""


class OutboundPolicy:
    """What one stream has said, and says next."""

    def __init__(
        self,
        worker: Worker,
        lease_ttl: float,
        heartbeat_interval: float,
        at: float,
        *,
        accepts_deferrals: bool,
        accepts_report_parts: bool,
    ) -> None:
        self._worker = worker
        self._takes_deferrals = accepts_deferrals
        self._takes_parts = accepts_report_parts
        self._parts = Parts(heartbeat_interval)
        self._states = StateLog(lease_ttl)
        self._heartbeat_interval = heartbeat_interval
        self._state_due_at = at
        self._reported_at = at - REPORT_PAUSE
        self._state_number = 0
        self._report_number = 0
        self._last_assignment = 0
        self._answered_poll = ""  # all that came of it is said
        self._stated_poll = ""
        self._known_free = 0
        self._stated_for_large = False
        self._sends_large = False  # what is sent in parts, if anything, is large
        self._told_draining = False
        self._told_refusing = False
        self._last_open_state = 0
        self._states_to_quiesce = STATES_TO_QUIESCE

    def next(self, at: float) -> pb.LeaseRequest | None:
        """The next message; None where there is nothing to say now."""
        self._note_answered_poll()
        if self._worker.stopping and not self._told_draining:
            self._told_draining = True
            self._last_open_state = self._state_number
            return wire.draining()
        if self._worker.refuses and not self._told_refusing:
            self._told_refusing = True
            return self._state(at)
        self._told_refusing = self._told_refusing and self._worker.refuses
        if self._answered_poll != self._stated_poll:
            return self._state(at)
        if (part := self._parts.next(at)) is not None:
            return wire.part(*part)
        if self._report_is_due(at) and (report := self._report(at)) is not None:
            return report
        return self._state(at) if self._state_is_due(at) else None

    def wake_at(self, at: float) -> float:
        """When to ask again for the next message, if nothing happens before; at `at` there was none.

        What is past by then waits for an answer, not for its time.
        """
        paced = self._reported_at + REPORT_PAUSE if self._worker.outbox else self._state_due_at
        times = (self._state_due_at, paced, self._worker.outbox.alone_due_at())
        return min(time for time in times if time > at)

    def assigned(self, number: int, leases: int, heartbeat_number: int) -> float | None:
        """An assignment was read; the deadline of its leases, None where it comes too late."""
        self._last_assignment = number
        self._known_free = max(0, self._known_free - leases)
        return self._states.granted(heartbeat_number)

    def acknowledged(self, heartbeat_number: int, not_renewed: Iterable[str]) -> Renewal | None:
        """A state is committed."""
        if self._told_draining and heartbeat_number > self._last_open_state:
            self._states_to_quiesce -= 1
            if self._states_to_quiesce == 0:
                self._worker.quiesced.set()
        return self._states.acknowledged(heartbeat_number, not_renewed)

    def received(self, report_number: int, at: float) -> None:
        """A part of a report is there."""
        self._parts.received(report_number, at)

    def _report_is_due(self, at: float) -> bool:
        return self._worker.outbox.under_way < REPORTS_AT_ONCE or at >= self._reported_at + REPORT_PAUSE

    def _state_is_due(self, at: float) -> bool:
        if at >= self._state_due_at:
            return True
        if self._told_draining and self._states_to_quiesce > 0:
            return not self._states.awaits_answer
        if self._worker.closed or self._large_waits(at):
            return self._known_free > 0
        return not self._states.awaits_answer and self._worker.worth_stating(self._known_free)

    def _state(self, at: float) -> pb.LeaseRequest:
        self._state_number += 1
        self._stated_for_large = True
        # A large result waits behind this state. Had its lease run out, its task would be granted anew before it comes.
        self._known_free = 0 if self._large_waits(at) else self._worker.free_slots()
        self._state_due_at = at + self._heartbeat_interval
        held = list(self._worker.book)
        self._states.built(self._state_number, [lease.lease_id for lease in held], at)
        self._stated_poll = self._answered_poll
        return wire.state(
            self._state_number,
            self._known_free,
            held,
            last_assignment=self._last_assignment,
            last_poll_id=self._answered_poll,
            unhealthy=self._worker.probes.unhealthy,
            last_error=self._worker.last_error,
        )

    def _report(self, at: float) -> pb.LeaseRequest | None:
        """A large update, a state ahead of it, or what has gathered; while one is sent in parts, what fits a part.

        An update under which a stream has ended goes behind all else: it may end this one, too.
        """
        outbox, number = self._worker.outbox, self._report_number + 1
        if self._parts.busy:
            return self._sent(number, outbox.take(number, self._parts.size), at)
        large = outbox.alone(at)
        if (large is None or outbox.ends_under(large)) and (taken := outbox.take(number)):
            self._sends_large = False
            return self._sent(number, taken, at)
        if large is None:
            return None
        if not self._stated_for_large:
            return self._state(at)
        self._sends_large = True
        return self._sent(number, outbox.take_alone(number, large), at)

    def _sent(self, number: int, taken: Sequence[Update], at: float) -> pb.LeaseRequest | None:
        """Report `number`, or its first part; None where nothing was taken."""
        if not taken:
            return None
        self._report_number, self._reported_at, self._stated_for_large = number, at, False
        message = wire.report(number, taken, accepts_deferrals=self._takes_deferrals)
        if self._takes_parts and sum(update.size for update in taken) > self._parts.size:
            self._parts.begin(number, message.report.SerializeToString())
            part = self._parts.next(at)
            assert part is not None, "a report that has just begun has a first part"
            message = wire.part(*part)
        self._note_answered_poll()
        return message

    def _large_waits(self, at: float) -> bool:
        """Whether a large update is to be sent, or is not sent whole."""
        return (self._parts.busy and self._sends_large) or self._worker.outbox.alone(at) is not None

    def _note_answered_poll(self) -> None:
        """A poll's answer is stated behind what the CLIs said to it: the state that names it is committed after that.

        So its time comes whenever everything that there was to report has been sent.
        """
        if not self._worker.outbox and not self._parts.busy:
            self._answered_poll = self._worker.polls.answered
