"""RPCs of the contract that this version does not serve: they stand in a servicer as attributes. Part of `api`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Never

import grpc
from grpc import aio


async def _refuse(_servicer: object, _request: object, context: aio.ServicerContext[Any, Any]) -> Never:
    await context.abort(grpc.StatusCode.UNIMPLEMENTED, "this version of the scheduler does not serve this RPC yet")


unimplemented: Callable[..., Any] = _refuse
