"""How one definition of a method serves both clients.

Layer: client. Each method is written once, as a coroutine on a `Transport`. `ContentGenerationClient` runs it to its
end and returns the result; `AsyncContentGenerationClient` returns the coroutine itself. The decorators say what the
caller of either gets, to type checkers too.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from functools import wraps
from types import MethodType
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, overload

import grpc

from contentgen.client.transport import Pages, Request, Response, Stubs, Transport, run
from contentgen.client.watch import AsyncWatch, TaskWatch, Watch

P = ParamSpec("P")
T = TypeVar("T")


class Methods:
    """A group of methods; all groups of a client share its transport."""

    _transport: Transport

    @property
    def _stubs(self) -> Stubs:
        return self._transport.stubs

    async def _call(
        self, rpc: grpc.UnaryUnaryMultiCallable[Request, Response], request: Request, *, waits: float = 0.0
    ) -> Response:
        return await self._transport.call(rpc, request, waits=waits)


class Blocking(Methods):
    """The methods return once they are done."""


class Asyncio(Methods):
    """The methods return coroutines."""


class _Shared:
    """A function for each client, of one name, with one docstring and the same parameters."""

    def __init__(self, blocking: Callable[..., Any], asyncio: Callable[..., Any]) -> None:
        self._blocking = blocking
        self._asyncio = asyncio
        self.__doc__ = blocking.__doc__

    def _of(self, client: Methods | None, owner: type) -> Any:
        function = self._blocking if issubclass(owner, Blocking) else self._asyncio
        return function if client is None else MethodType(function, client)


class Unary(_Shared, Generic[P, T]):
    """A coroutine: `T` for one client, a coroutine of `T` for the other."""

    def __init__(self, method: Callable[Concatenate[Any, P], Coroutine[Any, Any, T]]) -> None:
        @wraps(method)
        def blocking(client: Blocking, *args: P.args, **kwargs: P.kwargs) -> T:
            return run(method(client, *args, **kwargs))

        super().__init__(blocking, method)

    @overload
    def __get__(self, client: Blocking, owner: type) -> Callable[P, T]: ...
    @overload
    def __get__(self, client: Asyncio, owner: type) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def __get__(self, client: Methods | None, owner: type) -> Any:
        return self._of(client, owner)


class Listing(_Shared, Generic[P, T]):
    """The items of `Pages`, as an iterator for one client and as an asynchronous iterator for the other."""

    def __init__(self, method: Callable[Concatenate[Any, P], Pages[T]]) -> None:
        @wraps(method)
        def blocking(client: Blocking, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
            return iter(method(client, *args, **kwargs))

        @wraps(method)
        def asyncio(client: Asyncio, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[T]:
            return aiter(method(client, *args, **kwargs))

        super().__init__(_returning(blocking, "Pages", "Iterator"), _returning(asyncio, "Pages", "AsyncIterator"))

    @overload
    def __get__(self, client: Blocking, owner: type) -> Callable[P, Iterator[T]]: ...
    @overload
    def __get__(self, client: Asyncio, owner: type) -> Callable[P, AsyncIterator[T]]: ...
    def __get__(self, client: Methods | None, owner: type) -> Any:
        return self._of(client, owner)


class Watching(_Shared, Generic[P]):
    """A watch: `Watch` for one client, `AsyncWatch` for the other."""

    def __init__(self, method: Callable[Concatenate[Any, P], TaskWatch]) -> None:
        @wraps(method)
        def blocking(client: Blocking, *args: P.args, **kwargs: P.kwargs) -> Watch:
            return Watch(method(client, *args, **kwargs))

        @wraps(method)
        def asyncio(client: Asyncio, *args: P.args, **kwargs: P.kwargs) -> AsyncWatch:
            return AsyncWatch(method(client, *args, **kwargs))

        super().__init__(_returning(blocking, "TaskWatch", "Watch"), _returning(asyncio, "TaskWatch", "AsyncWatch"))

    @overload
    def __get__(self, client: Blocking, owner: type) -> Callable[P, Watch]: ...
    @overload
    def __get__(self, client: Asyncio, owner: type) -> Callable[P, AsyncWatch]: ...
    def __get__(self, client: Methods | None, owner: type) -> Any:
        return self._of(client, owner)


def _returning(function: Callable[..., Any], shared_type: str, own_type: str) -> Callable[..., Any]:
    """`function`, whose signature `help` shows with what it returns itself."""
    signature = inspect.signature(function)
    returns = str(signature.return_annotation).replace(shared_type, own_type)
    function.__signature__ = signature.replace(return_annotation=returns)  # type: ignore[attr-defined]
    return function
