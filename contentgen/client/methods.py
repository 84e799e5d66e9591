"""How one definition of a method serves both clients, and those who want the messages.

Layer: client. Each method is written once, as a coroutine on a `Transport` that returns a message. The decorators say
what the caller gets, to type checkers too: `ContentGenerationClient` runs the coroutine to its end and returns a dict
of the message; `AsyncContentGenerationClient` returns a coroutine of that dict; and `MessageMethods` the message.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from functools import partial, wraps
from types import MethodType
from typing import Any, Concatenate, Generic, NamedTuple, ParamSpec, TypeVar, get_type_hints, overload

import grpc

from contentgen.client.documents import document
from contentgen.client.errors import RequestError, ResourceNotFoundException
from contentgen.client.transport import Pages, Request, Response, Stubs, Transport, run
from contentgen.client.watch import AsyncWatch, ResumingStream, Watch

P = ParamSpec("P")
M = TypeVar("M")
S = TypeVar("S", bound=ResumingStream[Any])
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
F = TypeVar("F", bound=Callable[..., Any])
OfBlocking = TypeVar("OfBlocking")
OfAsyncio = TypeVar("OfAsyncio")
OfMessages = TypeVar("OfMessages")

Method = Callable[Concatenate[Any, P], Coroutine[Any, Any, M]]


class Methods:
    """A group of methods; all groups of a client share its transport."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    @property
    def _stubs(self) -> Stubs:
        return self._transport.stubs

    async def _call(
        self,
        rpc: grpc.UnaryUnaryMultiCallable[Request, Response],
        request: Request,
        *,
        waits: float = 0.0,
        about: Any = None,
    ) -> Response:
        return await self._transport.call(rpc, request, waits=waits, about=about)


class Blocking(Methods):
    """The methods return once they are done."""


class Asyncio(Methods):
    """The methods return coroutines."""


class Messages(Methods):
    """The methods return once they are done, with the messages of which the others make dicts.

    The errors of which the others make None or False are raised.
    """


class _Shared(Generic[OfBlocking, OfAsyncio, OfMessages]):
    """A function for each kind of methods, of one name, with one docstring and the same parameters.

    Its types are what callers see, without the client.
    """

    def __init__(self, blocking: Callable[..., Any], asyncio: Callable[..., Any], messages: Callable[..., Any]) -> None:
        self._blocking = blocking
        self._asyncio = asyncio
        self._messages = messages
        self.__doc__ = blocking.__doc__

    @overload
    def __get__(self, client: Blocking, owner: type) -> OfBlocking: ...
    @overload
    def __get__(self, client: Asyncio, owner: type) -> OfAsyncio: ...
    @overload
    def __get__(self, client: Messages, owner: type) -> OfMessages: ...
    def __get__(self, client: Methods | None, owner: type) -> Any:
        if issubclass(owner, Blocking):
            function = self._blocking
        else:
            function = self._messages if issubclass(owner, Messages) else self._asyncio
        return function if client is None else MethodType(function, client)


class Replacement(NamedTuple, Generic[T_co]):
    """What callers get in place of an error of this kind and reason: by default, that of what does not exist."""

    value: T_co
    kind: type[RequestError] = ResourceNotFoundException
    reason: str = ""

    def stands_for(self, error: RequestError) -> bool:
        return isinstance(error, self.kind) and self.reason in {"", error.reason}


class Unary(_Shared[Callable[P, T], Callable[P, Coroutine[Any, Any, T]], Callable[P, M]], Generic[P, M, T]):
    """A coroutine of `M`, which `Messages` run to its end; the clients' callers get the `T` that is made of it."""

    def __init__(
        self, method: Method[P, M], convert: Callable[[M], T], returns: str, replacement: Replacement[T] | None = None
    ) -> None:
        """`returns`: `T`, as `help` shows it."""
        method = _returning(method, returns)

        @wraps(method)
        async def asyncio(client: Methods, *args: P.args, **kwargs: P.kwargs) -> T:
            try:
                return convert(await method(client, *args, **kwargs))
            except RequestError as error:
                if replacement is None or not replacement.stands_for(error):
                    raise
                return replacement.value

        @wraps(method)
        def blocking(client: Blocking, *args: P.args, **kwargs: P.kwargs) -> T:
            return run(asyncio(client, *args, **kwargs))

        @wraps(method)
        def messages(client: Messages, *args: P.args, **kwargs: P.kwargs) -> M:
            return run(method(client, *args, **kwargs))

        super().__init__(blocking, asyncio, messages)


def takes(*kinds: type[Any]) -> Callable[[F], F]:
    """The last parameter of a method is `**`, the keys of these TypedDicts: `help` shows each, and others are refused.

    Type checkers know them by `Unpack`. In the docstring, the line of that parameter stands for all of them.
    """
    keywords = {
        name: inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=hint)
        for kind in kinds
        for name, hint in get_type_hints(kind).items()
    }
    meanings = "\n".join((inspect.getdoc(kind) or "").partition("Attributes:\n")[2] for kind in kinds)

    def decorate(method: F) -> F:
        signature = inspect.signature(method)
        *parameters, last = signature.parameters.values()
        names = {parameter.name for parameter in parameters} | keywords.keys()
        docstring = inspect.getdoc(method) or ""

        @wraps(method)
        def checked(*args: Any, **kwargs: Any) -> Any:
            if unknown := kwargs.keys() - names:
                raise TypeError(f"{method.__qualname__}() got an unexpected keyword argument {min(unknown)!r}")
            return method(*args, **kwargs)

        checked.__signature__ = signature.replace(parameters=[*parameters, *keywords.values()])  # type: ignore[attr-defined]
        checked.__doc__ = re.sub(rf"^    {last.name}: .*", lambda _: meanings, docstring, flags=re.MULTILINE)
        return checked  # type: ignore[return-value] # it takes and returns the same

    return decorate


def plain(method: Method[P, T]) -> Unary[P, T, T]:
    """Everybody gets what the method returns."""
    return Unary(method, lambda answer: answer, method.__annotations__["return"])


def returns(kind: type[T]) -> Callable[[Method[P, M]], Unary[P, M, T]]:
    """Lets a method return a dict of this type, of the message."""
    return lambda method: Unary(method, partial(document, kind), kind.__name__)


def returns_all(kind: type[T]) -> Callable[[Method[P, Iterable[M]]], Unary[P, Iterable[M], list[T]]]:
    """Lets a method return a list of such dicts, one of each message."""

    def convert(messages: Iterable[M]) -> list[T]:
        return [document(kind, message) for message in messages]

    return lambda method: Unary(method, convert, f"list[{kind.__name__}]")


def returns_if_found(kind: type[T]) -> Callable[[Method[P, M]], Unary[P, M, T | None]]:
    """Lets a method return such a dict, or None if what the call is about does not exist."""
    return lambda method: Unary(method, partial(document, kind), f"{kind.__name__} | None", Replacement(None))


def returns_whether_found(method: Method[P, M]) -> Unary[P, M, bool]:
    """Lets a method return True once it is done, or False if what the call is about does not exist."""
    return Unary(method, lambda _: True, "bool", Replacement(False))


def returns_by(
    convert: Callable[[M], T], replacement: Replacement[T] | None = None
) -> Callable[[Method[P, M]], Unary[P, M, T]]:
    """Lets a method return what `convert` makes of the message."""
    return lambda method: Unary(method, convert, convert.__annotations__["return"], replacement)


class Listing(
    _Shared[Callable[P, Iterator[T]], Callable[P, AsyncIterator[T]], Callable[P, Pages[M]]], Generic[P, M, T]
):
    """`Pages` of `M`, which `Messages` get; an iterator or an asynchronous iterator of `T` for the clients' callers."""

    def __init__(self, method: Callable[Concatenate[Any, P], Pages[M]], kind: type[T]) -> None:
        @wraps(method)
        def blocking(client: Blocking, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
            return (document(kind, item) for item in method(client, *args, **kwargs))

        @wraps(method)
        def asyncio(client: Asyncio, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[T]:
            return (document(kind, item) async for item in method(client, *args, **kwargs))

        super().__init__(
            _returning(blocking, f"Iterator[{kind.__name__}]"),
            _returning(asyncio, f"AsyncIterator[{kind.__name__}]"),
            method,
        )


def lists(kind: type[T]) -> Callable[[Callable[Concatenate[Any, P], Pages[M]]], Listing[P, M, T]]:
    """Lets a method list dicts of this type, of the items of the pages."""
    return lambda method: Listing(method, kind)


class Watching(_Shared[Callable[P, Watch[T]], Callable[P, AsyncWatch[T]], Callable[P, S]], Generic[P, S, T]):
    """A `ResumingStream`, which `Messages` get; `Watch` and `AsyncWatch` of `T` for the clients' callers."""

    def __init__(self, method: Callable[Concatenate[Any, P], S], kind: type[T]) -> None:
        @wraps(method)
        def blocking(client: Blocking, *args: P.args, **kwargs: P.kwargs) -> Watch[T]:
            return Watch(method(client, *args, **kwargs), kind)

        @wraps(method)
        def asyncio(client: Asyncio, *args: P.args, **kwargs: P.kwargs) -> AsyncWatch[T]:
            return AsyncWatch(method(client, *args, **kwargs), kind)

        super().__init__(
            _returning(blocking, f"Watch[{kind.__name__}]"), _returning(asyncio, f"AsyncWatch[{kind.__name__}]"), method
        )


def watches(kind: type[T]) -> Callable[[Callable[Concatenate[Any, P], S]], Watching[P, S, T]]:
    """Lets a method return a watch of dicts of this type, of the items of the stream."""
    return lambda method: Watching(method, kind)


def _returning(function: F, returns: str) -> F:
    """Returns `function`, whose signature `help` shows with what it returns itself."""
    function.__signature__ = inspect.signature(function).replace(return_annotation=returns)  # type: ignore[attr-defined]
    return function
