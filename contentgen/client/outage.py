"""`Backoff` under the name and method that `contentgen.cli` uses. Layer: client."""

from __future__ import annotations

from contentgen.client.backoff import Backoff


class Outage(Backoff):
    def over(self) -> None:
        """As `reset`."""
        self.reset()
