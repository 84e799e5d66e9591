"""What somebody has typed into a form: read within bounds of size, number and time; what is wrong with it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Mapping
from datetime import datetime
from typing import Any, ClassVar, TypeVar
from zoneinfo import ZoneInfo

from python_multipart.exceptions import FormParserError
from starlette.datastructures import ImmutableMultiDict
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from console_svc.web.language import filled, refused, text
from console_svc.web.values import UTC_ZONE, moment, number_of, zone_named
from console_svc.web.violations import violation
from contentgen import RequestError, ResourceNotFoundException

MAX_FORM = 8 << 20
"""Bytes of a form, files included."""
MAX_FORMS = 64 << 20
"""Bytes of all forms that arrive at a time: each takes up to one and a half times as much memory."""
FORM_TIMEOUT = 60.0
"""Seconds that a form may take to arrive; one that may be larger than `MAX_FORM` has as much more."""
UNREADABLE = text("This form can't be read. Reload the page.")
_BAD, _LATE, _LARGE, _OTHER_TYPE, _BUSY = 400, 408, 413, 415, 503
_BOUNDARY = r"[\w'()+,./:=?-]{1,70}"
_TYPE = re.compile(
    r"application/x-www-form-urlencoded(; ?charset=utf-8)?"
    rf"|multipart/form-data; ?boundary=(\"{_BOUNDARY}\"|{_BOUNDARY})",
    re.ASCII | re.IGNORECASE,
)
"""The types that browsers send. Others name character sets and parameters that take long to read, or can't be."""
_OF_ACCOUNT = frozenset({"ACCOUNT_INACTIVE", "ACCOUNT_FORBIDDEN"})
"""Refusals for what an account may not do."""
T = TypeVar("T")


class BadValue(ValueError):
    """A text that is no value of its field; `problem` says what it should be."""

    def __init__(self, english: str, **values: object) -> None:
        super().__init__(english)
        self.problem = filled(english, **values)


class Form:
    """What somebody typed into a form or an address, by field, and what is wrong with it.

    A problem is a text of the page; that of no field is that of ''.
    """

    def __init__(
        self,
        typed: Mapping[str, str],
        fields: Collection[str] | None = None,
        zone: ZoneInfo | None = None,
        account: Callable[[str], int | None] = number_of,
    ) -> None:
        """`fields`: beside which problems can be shown, if not the typed ones; `zone`: of its times if none says it.

        `account` reads what was typed for an account; AccountNames has one that knows names.
        """
        self.typed = dict(typed)
        self.fields = self.typed.keys() if fields is None else fields
        self.zone = zone or zone_named(self.plain("zone")) or UTC_ZONE
        self.problems: dict[str, str] = {}
        self.read_account = account

    def plain(self, name: str) -> str:
        """Returns the text of a field, without the spaces around it; empty if it is missing."""
        return self.typed.get(name, "").strip()

    def read(self, name: str, reader: Callable[[str], T], problem: str = "") -> T | None:
        """Returns the value of a field; None if it is missing, or `reader` raises ValueError: then it has this problem.

        A BadValue has a problem of its own.
        """
        if name not in self.typed:
            return None
        try:
            return reader(self.typed[name])
        except ValueError as error:
            self.problems[name] = error.problem if isinstance(error, BadValue) else problem
            return None

    def account(self) -> int | None:
        return self.read("account", self.read_account, text("The name or the number of an account."))

    def time(self, name: str, problem: str) -> datetime | None:
        return self.read(name, lambda value: moment(value, self.zone), problem)

    def refused(self, error: RequestError) -> None:
        """Takes over what the schedulers say: beside the fields that they name, else of the account or of the whole."""
        pairs = ((self._field(path), violation(description)) for path, description in error.field_violations)
        problems = {name: description for name, description in pairs if name}
        account = isinstance(error, ResourceNotFoundException) or error.reason in _OF_ACCOUNT
        self.problems |= problems or {self._field("account_id") if account else "": refused(error)}

    def _field(self, path: str) -> str:
        """Returns the field of ours that a path such as `template.labels[2]` names; empty if it names none."""
        parts = re.split(r"[.\[]", path)
        names = ["account" if part == "account_id" and part not in self.fields else part for part in parts]
        return next((name for name in names if name in self.fields), "")


def text_of(data: ImmutableMultiDict[str, Any], name: str) -> str:
    """Returns the text of a field, without the spaces around it; empty if it is missing, or a file."""
    value = data.get(name)
    return value.strip() if isinstance(value, str) else ""


def texts_of(data: ImmutableMultiDict[str, Any]) -> dict[str, str]:
    return {name: value for name, value in data.items() if isinstance(value, str)}


def typed_of(data: ImmutableMultiDict[str, Any], names: Iterable[str]) -> dict[str, str]:
    """Returns the texts of these fields that are not empty, without the spaces around them."""
    return {name: value for name in names if (value := text_of(data, name))}


def lines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


async def with_form(request: Request, limit: int = MAX_FORM) -> Request:
    """Returns the request once its form, of so many bytes at most, has been read: `form()` returns it at once.

    Raises HTTPException with the status and a text for whoever sent it.
    """
    if not _TYPE.fullmatch(request.headers.get("content-type", "")):
        raise HTTPException(_OTHER_TYPE, UNREADABLE)
    bounded = _Bounded(request, limit)
    try:
        async with asyncio.timeout(FORM_TIMEOUT * max(1, limit / MAX_FORM)):
            await bounded.form(max_files=1, max_part_size=limit)
    except TimeoutError:
        raise HTTPException(_LATE, text("The form took too long to arrive. Send it again.")) from None
    except (ClientDisconnect, FormParserError):
        raise HTTPException(_BAD, UNREADABLE) from None
    except HTTPException as refusal:
        if refusal.status_code == _BAD:
            refusal.detail = UNREADABLE  # the library's words are about its limits
        raise
    finally:
        bounded.has_arrived()
    return bounded


class _Bounded(Request):
    """A request whose body is read up to a limit. A form is parsed as it arrives, some kilobytes at a time."""

    _of_all: ClassVar[int] = 0
    """Bytes of all that arrive now."""

    def __init__(self, request: Request, limit: int) -> None:
        super().__init__(request.scope, request.receive)
        self._limit = limit
        self._read = 0

    async def stream(self) -> AsyncGenerator[bytes, None]:
        async for part in super().stream():
            self._read += len(part)
            _Bounded._of_all += len(part)
            if self._read > self._limit:
                raise HTTPException(_LARGE, text("The form is too large."))
            if _Bounded._of_all > MAX_FORMS:
                raise HTTPException(_BUSY, text("Too many large forms arrive at a time. Send it again."))
            yield part

    def has_arrived(self) -> None:
        """Counts the form no longer, whether it has arrived as a whole or not."""
        _Bounded._of_all -= self._read
        self._read = 0
