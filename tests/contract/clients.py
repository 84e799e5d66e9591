"""Both clients, for tests that hold for both: `AsyncContentGenerationClient` with the interface of the blocking one."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Self, TypeVar, cast

from contentgen import AsyncContentGenerationClient, AsyncWatch, ContentGenerationClient
from tests.harness.scripted_server import THREAD_NAME

T = TypeVar("T")
BLOCKING, ASYNCIO = KINDS = ("blocking", "asyncio")


@contextmanager
def opened(kind: str, target: str, **options: Any) -> Iterator[ContentGenerationClient]:
    """A client of this kind."""
    if kind == BLOCKING:
        with ContentGenerationClient(target, **options) as client:
            yield client
        return
    loop = _Loop()
    try:
        with _OnLoop(loop, AsyncContentGenerationClient(target, **options)) as wrapper:
            yield cast("ContentGenerationClient", wrapper)
    finally:
        loop.close()


class _Loop:
    """An event loop in its own thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"{THREAD_NAME}-loop")
        self._thread.start()

    def run(self, steps: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(steps, self._loop).result()

    def close(self) -> None:
        self.run(self._loop.shutdown_asyncgens())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class _OnLoop:
    """A client or one of its results, with methods that block until the loop has run them."""

    def __init__(self, loop: _Loop, wrapped: Any) -> None:
        self._loop = loop
        self._wrapped = wrapped

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._wrapped, name)
        return self._blocking(attribute) if callable(attribute) else attribute

    def close(self) -> None:
        self._blocking(self._wrapped.close)()

    def __enter__(self) -> Self:
        self._loop.run(self._wrapped.__aenter__())
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        async def step() -> Any:
            return await anext(self._wrapped)

        try:
            return self._loop.run(step())
        except StopAsyncIteration:
            raise StopIteration from None

    def _blocking(self, method: Callable[..., Any]) -> Callable[..., Any]:
        async def called(*args: Any, **more: Any) -> Any:
            result = method(*args, **more)
            return await result if inspect.isawaitable(result) else result

        def blocking(*args: Any, **more: Any) -> Any:
            result = self._loop.run(called(*args, **more))
            return _OnLoop(self._loop, result) if isinstance(result, AsyncIterator | AsyncWatch) else result

        return blocking
