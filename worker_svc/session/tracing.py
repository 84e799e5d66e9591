"""What the worker tells a tracer about the leases of tasks that belong to a trace.

Layer: inside session, above leases. Without a tracer no span is made: the CLI gets the one that came with its lease.
"""

from __future__ import annotations

from typing import Protocol

from worker_svc.session.leases import Lease


class Tracer(Protocol):
    def started(self, lease: Lease) -> None:
        """A slot has taken it. What follows in its trace, such as the CLI's own spans, follows this attempt."""

    def ended(self, lease: Lease, ending: str, reason: str) -> None:
        """The update that ends it is known, and is to be delivered. `ending`: its kind; `reason` may be empty."""

    def delivered(self, lease_id: str, outcome: str) -> None:
        """That update is acknowledged."""

    def close(self, within: float) -> None:
        """Exports what is left, for so many seconds at most."""


class NoTracer:
    """Implements `Tracer`; makes no spans."""

    def started(self, lease: Lease) -> None:
        pass

    def ended(self, lease: Lease, ending: str, reason: str) -> None:
        pass

    def delivered(self, lease_id: str, outcome: str) -> None:
        pass

    def close(self, within: float) -> None:
        pass


NO_TRACER: Tracer = NoTracer()
