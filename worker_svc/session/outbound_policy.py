"""Chooses the next message of a stream: reports as updates gather, heartbeats when due or needed, parts in between.

One instance a stream, because messages are numbered within a stream.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from contentgen.v1 import worker_service_pb2 as pb
from worker_svc.session import wire
from worker_svc.session.deadlines import HeartbeatLog, Renewal
from worker_svc.session.outbox import PendingUpdate, ReportCutter
from worker_svc.session.worker import Worker

HEARTBEATS_TO_QUIESCE = 2
"""Heartbeats without free slots that have to be acknowledged before a draining worker may exit. A claim that began
before the first was committed has been sent by the time the second is."""
MAX_UNPACED_REPORTS = 2
"""Unacknowledged reports up to which the next one is sent at once. Above that updates gather, so batches grow
with load."""
REPORT_INTERVAL = 0.1
"""Seconds between reports above that: slow or missing acknowledgements do not hold reports back for long."""


class OutboundPolicy:
    """What one stream has sent, and sends next. It takes updates from the worker's outbox, and changes nothing else."""

    def __init__(
        self, worker: Worker, welcome: pb.Welcome, heartbeat_interval: float, at: float, on_quiesced: Callable[[], None]
    ) -> None:
        """`on_quiesced` is called once the scheduler can send a draining worker no further lease on this stream."""
        self._worker = worker
        self._accepts_deferrals = welcome.accepts_deferrals
        self._accepts_parts = welcome.accepts_report_parts
        self._on_quiesced = on_quiesced
        self._parts = ReportCutter(heartbeat_interval)
        self._heartbeats = HeartbeatLog(wire.seconds(welcome.lease_ttl))
        self._heartbeat_interval = heartbeat_interval
        self._heartbeat_due_at = at
        self._reported_at = at - REPORT_INTERVAL
        self._heartbeat_number = 0
        self._report_number = 0
        self._last_assignment = 0
        self._answered_poll = ""  # every update before its answer has been sent
        self._sent_poll = ""
        self._known_free_slots = 0
        self._heartbeat_precedes_large = False
        self._sends_large = False  # what is sent in parts, if anything, is large
        self._draining_sent = False
        self._refusal_sent = False
        self._last_open_heartbeat = 0
        self._heartbeats_to_quiesce = HEARTBEATS_TO_QUIESCE
        self._output_in_flight = False

    def next_message(self, at: float) -> pb.LeaseRequest | None:
        intake = self._worker.intake
        self._note_answered_poll()
        if intake.stopping and not self._draining_sent:
            self._draining_sent = True
            self._last_open_heartbeat = self._heartbeat_number
            return pb.LeaseRequest(draining=pb.Draining())
        if intake.refuses and not self._refusal_sent:
            self._refusal_sent = True
            return self._heartbeat(at)
        self._refusal_sent = self._refusal_sent and intake.refuses
        if self._answered_poll != self._sent_poll:
            return self._heartbeat(at)
        if (part := self._parts.next(at)) is not None:
            return pb.LeaseRequest(report_part=part)
        if self._report_is_due(at) and (report := self._report(at)) is not None:
            return report
        return self._heartbeat(at) if self._heartbeat_is_due(at) else self._output(at)

    def wake_at(self, at: float) -> float:
        """Returns when to ask for the next message again if nothing happens before; at `at` there was none.

        A time that has passed by `at` is left out: that message waits for an acknowledgement.
        """
        paced = self._reported_at + REPORT_INTERVAL if self._worker.outbox else self._heartbeat_due_at
        times = (self._heartbeat_due_at, paced, self._worker.outbox.alone_due_at(), self._worker.tails.due_at())
        return min(time for time in times if time > at)

    def assigned(self, number: int, leases: int, heartbeat_number: int) -> float | None:
        """Takes an assignment that was read. Returns the deadline of its leases; None if it arrived too late.

        A heartbeat names them within an interval of the one that they were claimed on. The newest may be on its way
        without them; an interval after that one, a short lease would be at its deadline.
        """
        self._last_assignment = number
        self._known_free_slots = max(0, self._known_free_slots - leases)
        if (built_at := self._heartbeats.built_at(heartbeat_number)) is not None:
            self._heartbeat_due_at = min(self._heartbeat_due_at, built_at + self._heartbeat_interval)
        return self._heartbeats.grant_deadline(heartbeat_number)

    def acknowledged(self, heartbeat_number: int, not_renewed: Iterable[str]) -> Renewal | None:
        """Takes a committed heartbeat. Returns what it renewed; None if it came too late to renew anything."""
        if self._draining_sent and heartbeat_number > self._last_open_heartbeat:
            self._heartbeats_to_quiesce -= 1
            if self._heartbeats_to_quiesce == 0:
                self._on_quiesced()
        return self._heartbeats.acknowledged(heartbeat_number, not_renewed)

    def output_received(self) -> None:
        self._output_in_flight = False

    def received(self, report_number: int, at: float) -> None:
        self._parts.received(report_number, at)

    def _report_is_due(self, at: float) -> bool:
        in_flight = self._worker.outbox.reports_in_flight
        return in_flight < MAX_UNPACED_REPORTS or at >= self._reported_at + REPORT_INTERVAL

    def _heartbeat_is_due(self, at: float) -> bool:
        if at >= self._heartbeat_due_at:
            return True
        if self._draining_sent and self._heartbeats_to_quiesce > 0:
            return not self._heartbeats.awaits_ack
        if self._worker.intake.closed or self._large_waits(at):
            return self._known_free_slots > 0
        return not self._heartbeats.awaits_ack and self._worker.intake.warrants_heartbeat(self._known_free_slots)

    def _heartbeat(self, at: float) -> pb.LeaseRequest:
        self._heartbeat_number += 1
        self._heartbeat_precedes_large = True
        # A large result waits behind this heartbeat. If its lease expired meanwhile, its task would be granted again.
        self._known_free_slots = 0 if self._large_waits(at) else self._worker.intake.free_slots()
        self._heartbeat_due_at = at + self._heartbeat_interval
        leases = list(self._worker.book)
        self._heartbeats.sent(self._heartbeat_number, [lease.lease_id for lease in leases], at)
        self._sent_poll = self._answered_poll
        heartbeat = pb.Heartbeat(
            number=self._heartbeat_number,
            free_slots=self._known_free_slots,
            held_leases=wire.held(leases),
            last_assignment=self._last_assignment,
            last_poll_id=self._answered_poll,
            unhealthy=self._worker.probes.unhealthy,
            last_error=self._worker.last_error,
        )
        return pb.LeaseRequest(heartbeat=heartbeat)

    def _output(self, at: float) -> pb.LeaseRequest | None:
        """Returns what a CLI printed, one at a time and after all else: nothing waits behind more than that."""
        if self._output_in_flight or self._parts.busy or (output := self._worker.tails.next(at)) is None:
            return None
        self._output_in_flight = True
        return pb.LeaseRequest(output=output)

    def _report(self, at: float) -> pb.LeaseRequest | None:
        """Returns a large update, the heartbeat before it, or what has gathered; while one is sent in parts, what fits.

        An update that was in flight when a stream ended goes after all others: it may end this stream too.
        """
        outbox, number = self._worker.outbox, self._report_number + 1
        if self._parts.busy:
            return self._sent(number, outbox.take(number, self._parts.size), at)
        large = outbox.next_alone(at)
        if (large is None or outbox.stream_ends(large)) and (updates := outbox.take(number)):
            self._sends_large = False
            return self._sent(number, updates, at)
        if large is None:
            return None
        if not self._heartbeat_precedes_large:
            return self._heartbeat(at)
        self._sends_large = True
        return self._sent(number, outbox.take_alone(number, large), at)

    def _sent(self, number: int, updates: Sequence[PendingUpdate], at: float) -> pb.LeaseRequest | None:
        """Returns the report `number`, or its first part; None if nothing was taken."""
        if not updates:
            return None
        self._report_number, self._reported_at, self._heartbeat_precedes_large = number, at, False
        message = wire.report(number, updates, accepts_deferrals=self._accepts_deferrals)
        if self._accepts_parts and sum(update.size for update in updates) > self._parts.size:
            self._parts.begin(number, message.report.SerializeToString())
            part = self._parts.next(at)
            assert part is not None, "a report that has just begun has a first part"
            message = pb.LeaseRequest(report_part=part)
        self._note_answered_poll()
        return message

    def _large_waits(self, at: float) -> bool:
        if (self._parts.busy and self._sends_large) or self._worker.uploads.late_waits:
            return True
        return self._worker.outbox.next_alone(at) is not None

    def _note_answered_poll(self) -> None:
        """A heartbeat names a poll as answered only once the updates of that poll have been sent.

        The scheduler commits them in this order.
        """
        if not self._worker.outbox and not self._parts.busy:
            self._answered_poll = self._worker.reporters.polls.answered
