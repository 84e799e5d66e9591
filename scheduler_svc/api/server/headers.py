"""A call's headers on their way: while they are, gRPC can send no status. Part of `api`."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


async def sent(sending: Coroutine[Any, Any, None]) -> None:
    """Awaits what sends them, alone or with the first message; when cancelled, to the end: then a status can follow."""
    whole = asyncio.ensure_future(sending)
    try:
        await asyncio.shield(whole)
    except asyncio.CancelledError:
        await whole
        raise
