"""The console's certificates, for browsers and for the schedulers: loaded again when their files change."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import grpc
from prometheus_client import Gauge

from console_svc.config import CERTIFICATES, ConsoleSettings, unusable
from console_svc.serving import Server
from console_svc.web.schedulers import credentials
from contentgen.service.files import CHECK_INTERVAL, EXPIRY_CHECK_INTERVAL, ReloadedFiles, warn_of_expiry
from contentgen.service.settings import SettingsError

_KEYS = ("tls_client_key", "console_tls_key")


class Certificates:
    """Create it before `pages`, which reads them: it notices each change from then on."""

    def __init__(self, settings: ConsoleSettings, gauge: Gauge) -> None:
        self._settings = settings
        self._gauge = gauge
        files = [path for name in (*CERTIFICATES, *_KEYS) if (path := getattr(settings, name))]
        self._reloaded = ReloadedFiles("certificates", files, self._load)
        self._pages: Server | None = None
        self._for_schedulers: grpc.ChannelCredentials | None = None

    async def keep_fresh(self, pages: Server, renew: Callable[[grpc.ChannelCredentials | None], None]) -> None:
        """Loads those that change, and warns once a day. Runs until it is cancelled."""
        self._pages = pages
        warned = time.monotonic()
        while self._reloaded.watched:
            await asyncio.sleep(CHECK_INTERVAL)
            if changed := await asyncio.to_thread(self._reloaded.reload_if_changed):
                renew(self._for_schedulers)
            if changed or time.monotonic() - warned >= EXPIRY_CHECK_INTERVAL:
                await asyncio.to_thread(self.warn)
                warned = time.monotonic()

    def warn(self) -> None:
        warn_of_expiry(self._settings, *CERTIFICATES, gauge=self._gauge)

    def _load(self) -> None:
        if problems := [*unusable(self._settings)]:
            raise SettingsError(problems)
        try:
            self._for_schedulers = credentials(self._settings)
            if self._pages:
                self._pages.load_certificate()
        except OSError as error:  # they have changed again meanwhile
            raise SettingsError([str(error)]) from None
