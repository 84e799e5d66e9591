"""Who has signed in. In memory: after a restart everybody signs in again.

A store that several consoles share would hold everybody's tokens, and would have to be kept safe like the database.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar
from weakref import WeakValueDictionary

from console_svc.web.account_names import AccountNames
from console_svc.web.language import PageText, filled, text
from console_svc.web.standing import Standing
from contentgen import AsyncContentGenerationClient, Caller

IDLE_LIMIT = 8 * 3_600.0
"""Seconds without a request after which a session ends."""
AGE_LIMIT = 24 * 3_600.0
"""Seconds after which a session ends in any case."""
MAX_SESSIONS = 10_000
"""Beyond it the one that was idle for longest ends."""
MAX_OF_OWNER = 20
"""Sessions of one owner; beyond it the one of them that was idle for longest ends."""
MAX_NOTICES = 5
NOTICE_LIMIT = 60.0
"""Seconds after which a text whose page nobody has opened is shown nowhere."""
UNDO_TIME = 10.0
"""Seconds for which a page offers to take back what was just done."""
SIGNED_OUT = text("You have signed out.")
SIGNED_OUT_EVERYWHERE = text("All sessions of your token were signed out.")
IDLE = text("Your session has ended: you asked for nothing for 8 hours.")
OLD = text("Your session has ended: it began 24 hours ago.")
CROWDED_OUT = text("Your session has ended: there were too many newer ones.")
CHANGED = text("Your session has ended: your role or accounts have changed.")
REVOKED = text("The schedulers do not know your token any more.")
UNKNOWN = text("Your session has ended, perhaps because the console was restarted.")

T = TypeVar("T")


class Notice(NamedTuple):
    """`page`: the path of the page that shows it; empty while that is not known, and then any."""

    text: PageText
    page: str
    time: float


@dataclass(slots=True)
class Session:
    """`key` is the cookie's value, `csrf` that of the forms.

    `owner` is the same for all sessions that share live feeds, work and "sign out everywhere": the user's token, or
    who the user is. None: the schedulers ask for no token.
    """

    key: str
    csrf: str
    owner: str | None
    client: AsyncContentGenerationClient
    caller: Caller
    began: float
    used: float
    accounts: AccountNames = field(default_factory=AccountNames)
    account_id: int | None = None
    """The account that the user has switched the console to; None: all that the user may see."""
    when_ended: set[Callable[[], None]] = field(default_factory=set)
    """Called once it has ended, unless it has only become too old."""
    standing: Standing = field(default_factory=Standing)
    exit: str = ""
    """Where the user signs out after that, too; empty: nowhere."""
    _notices: list[Notice] = field(default_factory=list)
    _undo: tuple[float, Mapping[str, str]] = (0.0, {})

    @property
    def user(self) -> str:
        """The name under which the schedulers know whoever has signed in."""
        return self.caller["name"] or "anonymous"

    def may(self, method: str) -> bool:
        """Returns whether the user's role may call `Service/Method`. What it may not is not offered."""
        return method in self.caller["methods"]

    def chosen(self, field: str) -> dict[str, str]:
        """Returns what a form's `field` of the account has to begin with: the account of the switch."""
        return {field: str(self.account_id)} if self.account_id else {}

    def tell(self, text: str, **values: object) -> None:
        """Shows a text on the page that this request leads to, in its language, with `{name}` filled in."""
        self._notices = [*self._notices, Notice(filled(text, **values), "", time.monotonic())][-MAX_NOTICES:]

    def led(self, page: str, onward: str) -> None:
        """Has the page at the path `onward` show the texts of this request, and those for `page`, which leads there."""
        self._notices = [
            notice._replace(page=onward) if notice.page in {"", page} else notice for notice in self._notices
        ]

    def offer_undo(self, fields: Mapping[str, str]) -> None:
        """Has pages offer a form with these fields, for `UNDO_TIME`; empty: nothing is offered any more."""
        self._undo = (time.monotonic() + UNDO_TIME, fields)

    def undo(self) -> tuple[float, Mapping[str, str]] | None:
        """Returns for how many seconds what form is offered; None: nothing can be taken back."""
        deadline, fields = self._undo
        seconds_left = deadline - time.monotonic()
        return (seconds_left, fields) if fields and seconds_left > 0 else None

    def take_notices(self, page: str) -> Sequence[PageText]:
        """Returns the texts for the page at this path that it has not shown yet."""
        recent = [notice for notice in self._notices if time.monotonic() - notice.time < NOTICE_LIMIT]
        self._notices = [notice for notice in recent if notice.page not in {"", page}]
        return [notice.text for notice in recent if notice.page in {"", page}]


class Sessions:
    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._sessions: dict[str, Session] = {}  # the one that was idle for longest first
        self._reasons: dict[str, str] = {}  # of those that have ended, the last ones
        self._accounts: WeakValueDictionary[tuple[int, ...], AccountNames] = WeakValueDictionary()

    def __len__(self) -> int:
        return len(self._sessions)

    def begin(self, owner: str | None, client: AsyncContentGenerationClient, caller: Caller) -> Session:
        """Returns a new session, under a new key: one that somebody planted in the browser is worth nothing."""
        now = self._clock()
        accounts = self._accounts.setdefault(tuple(caller["account_ids"]), AccountNames())
        keys = (secrets.token_urlsafe(32), secrets.token_urlsafe(32))
        session = Session(*keys, owner, client, caller, now, now, accounts)
        if owner is not None and len(own_sessions := self._of(owner)) >= MAX_OF_OWNER:
            self.end(own_sessions[0], CROWDED_OUT)
        if len(self._sessions) >= MAX_SESSIONS:
            self.end(next(iter(self._sessions.values())), CROWDED_OUT)
        self._sessions[session.key] = session
        return session

    def find(self, key: str) -> Session | None:
        """Returns the session of a cookie, or None if it has ended."""
        session = self._sessions.get(key)
        if session is None or self.seconds_left(session) <= 0:
            return None
        session.used = self._clock()
        self._sessions[key] = self._sessions.pop(key)
        return session

    def seconds_left(self, session: Session) -> float:
        """Returns how long a session lasts without a request; 0 if it has ended."""
        if session.key not in self._sessions:
            return 0.0
        now = self._clock()
        idle_seconds, age_seconds = session.used + IDLE_LIMIT - now, session.began + AGE_LIMIT - now
        if (seconds_left := min(idle_seconds, age_seconds)) > 0:
            return seconds_left
        self.end(session, IDLE if idle_seconds < age_seconds else OLD)
        return 0.0

    def why_ended(self, key: str) -> str:
        """Returns a text that says why the session of a cookie has ended; empty if there was none."""
        return self._reasons.get(key, UNKNOWN) if key else ""

    def of_owner(self, owner: str) -> Session | None:
        """Returns the session that was used last of those with this owner."""
        own_sessions = self._of(owner)
        return self.find(own_sessions[-1].key) if own_sessions else None

    def end(self, session: Session, why: str, *, everywhere: bool = False) -> None:
        """Ends this session; `everywhere`: all of its owner. `why`: a text."""
        for ended_session in self._of(session.owner) if everywhere else [session]:
            self._sessions.pop(ended_session.key, None)
            self._reasons[ended_session.key] = why
            for call in tuple(ended_session.when_ended):
                call()
        while len(self._reasons) > MAX_SESSIONS:
            del self._reasons[next(iter(self._reasons))]

    def end_former(self, session: Session) -> None:
        """Ends the sessions of the same user with other rights."""
        for other in [*self._sessions.values()]:
            if other.user == session.user and other.owner != session.owner:
                self.end(other, CHANGED)

    def _of(self, owner: str | None) -> list[Session]:
        """Returns the sessions of an owner, the one that was idle for longest first."""
        return [session for session in self._sessions.values() if session.owner == owner]


async def permitted(allowed: bool, call: Awaitable[T]) -> T | None:
    """Returns what the call returns. Where the user may not ask for it, no call is made, and None is returned."""
    if allowed:
        return await call
    if asyncio.iscoroutine(call):
        call.close()
    return None
