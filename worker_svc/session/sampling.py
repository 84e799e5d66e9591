"""Samples for metrics: what lives on the event loop. A scrape, on a thread of its own, reads only the last sample."""

from __future__ import annotations

import asyncio
import time

from worker_svc.metrics import WorkerMetrics
from worker_svc.session.credentials import Credentials, TlsCredentials
from worker_svc.session.scheduler_connection import SchedulerConnection
from worker_svc.session.worker import Worker

SAMPLE_INTERVAL = 0.5
FROZEN_LIMIT = 30.0  # seconds without a sample after which the event loop counts as frozen


class Sampling:
    """Lives on the event loop, but for the probes, which any thread may call."""

    def __init__(
        self, metrics: WorkerMetrics, worker: Worker, connection: SchedulerConnection, credentials: Credentials
    ) -> None:
        self._metrics = metrics
        self._credentials = credentials
        self._told: TlsCredentials | None = None
        self._worker = worker
        self._connection = connection
        self._sampled_at = time.monotonic()

    async def run(self) -> None:
        """Samples, and measures how late the event loop runs it. Runs until it is cancelled."""
        while True:
            self._metrics.connected.set(self._connection.connected)
            self._worker.sample()
            await self._sample_certificates()
            self._sampled_at = time.monotonic()
            await asyncio.sleep(SAMPLE_INTERVAL)
            self._metrics.loop_lag.observe(max(0.0, time.monotonic() - self._sampled_at - SAMPLE_INTERVAL))

    async def _sample_certificates(self) -> None:
        tls = self._credentials.current.tls
        if tls is not None and tls is not self._told:
            self._told = tls
            for setting, end in (await asyncio.to_thread(tls.expiries)).items():
                self._metrics.certificate_expiry.labels(setting).set(end.timestamp())

    def not_live(self) -> list[str]:
        """Why the process counts as dead; empty if it lives."""
        silence = time.monotonic() - self._sampled_at
        return [f"the event loop has not run for {silence:.0f} s"] if silence > FROZEN_LIMIT else []

    def not_ready(self) -> list[str]:
        """Why no task can reach this worker; empty if one can."""
        if self._connection.connected:
            return self.not_live()
        return ["no session with a scheduler is open", *self.not_live()]
