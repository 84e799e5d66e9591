"""Who has signed in. In memory: after a restart everybody signs in again."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from contentgen.client.client import AsyncContentGenerationClient

IDLE_LIMIT = 8 * 3_600.0
"""Seconds without a request after which a session ends."""
AGE_LIMIT = 24 * 3_600.0
"""Seconds after which a session ends in any case."""
MAX_SESSIONS = 10_000
"""Beyond it the one that was idle for longest ends."""


@dataclass(slots=True)
class Session:
    """`key` is the cookie's value, `csrf` that of the forms, `token` the user's own (None: the scheduler asks none)."""

    key: str
    csrf: str
    token: str | None
    client: AsyncContentGenerationClient
    began: float
    used: float = field(default=0.0)


class Sessions:
    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._sessions: dict[str, Session] = {}  # the one that was idle for longest first

    def begin(self, token: str | None, client: AsyncContentGenerationClient) -> Session:
        """A new session, under a new key: one that somebody planted in the browser is worth nothing."""
        now = self._clock()
        session = Session(secrets.token_urlsafe(32), secrets.token_urlsafe(32), token, client, now, now)
        while len(self._sessions) >= MAX_SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        self._sessions[session.key] = session
        return session

    def find(self, key: str) -> Session | None:
        """The session of a cookie. None if it has ended."""
        session = self._sessions.pop(key, None)
        now = self._clock()
        if session is None or now - session.used > IDLE_LIMIT or now - session.began > AGE_LIMIT:
            return None
        session.used = now
        self._sessions[key] = session
        return session

    def end(self, session: Session, *, everywhere: bool = False) -> None:
        """Ends this session; `everywhere`: all of its token."""
        gone = [key for key, it in self._sessions.items() if it.token == session.token] if everywhere else [session.key]
        for key in gone:
            self._sessions.pop(key, None)
