"""What somebody has typed into a form, read within bounds of size, number and time."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator
from typing import ClassVar

from python_multipart.exceptions import FormParserError
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from console_svc.web.language import text

MAX_FORM = 8 << 20
"""Bytes of a form, files included."""
MAX_FORMS = 64 << 20
"""Bytes of all forms that arrive at a time: each takes up to one and a half times as much memory."""
FORM_TIMEOUT = 60.0
"""Seconds that a form may take to arrive."""
UNREADABLE = text("This form can't be read. Load the page anew.")
_BAD, _LATE, _LARGE, _OTHER_TYPE, _BUSY = 400, 408, 413, 415, 503
_BOUNDARY = r"[\w'()+,./:=?-]{1,70}"
_TYPE = re.compile(
    r"application/x-www-form-urlencoded(; ?charset=utf-8)?"
    rf"|multipart/form-data; ?boundary=(\"{_BOUNDARY}\"|{_BOUNDARY})",
    re.ASCII | re.IGNORECASE,
)
"""The types that browsers send. Others name character sets and parameters that take long to read, or can't be."""


def text_of(form: FormData, name: str) -> str:
    """The text of a field, without the spaces around it; empty if it is missing, or a file."""
    given = form.get(name)
    return given.strip() if isinstance(given, str) else ""


async def with_form(request: Request, limit: int = MAX_FORM) -> Request:
    """The request once its form, of so many bytes at most, has been read: `form()` returns it at once.

    Raises HTTPException with the status and a text for whoever sent it.
    """
    if not _TYPE.fullmatch(request.headers.get("content-type", "")):
        raise HTTPException(_OTHER_TYPE, UNREADABLE)
    bounded = _Bounded(request, limit)
    try:
        async with asyncio.timeout(FORM_TIMEOUT):
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
        """As a whole, or not: none of it counts any more."""
        _Bounded._of_all -= self._read
        self._read = 0
