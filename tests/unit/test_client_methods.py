"""Both clients have the same methods, from one definition."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

import contentgen
from contentgen import AsyncContentGenerationClient, ContentGenerationClient, client
from contentgen.client import errors
from contentgen.client.client import MessageMethods


def methods(client: type) -> dict[str, Callable[..., Any]]:
    return {name: method for name, method in inspect.getmembers(client, inspect.isfunction) if not name.startswith("_")}


BLOCKING, ASYNCIO = methods(ContentGenerationClient), methods(AsyncContentGenerationClient)
RETURNS = {"Iterator[": "AsyncIterator[", "Watch": "AsyncWatch"}
"""What the asyncio client returns where it is no coroutine."""


def test_both_clients_have_the_same_methods() -> None:
    assert BLOCKING.keys() == ASYNCIO.keys()
    assert len(BLOCKING) > 30


@pytest.mark.parametrize("name", sorted(BLOCKING.keys() - {"close"}))
def test_a_method_has_one_signature_and_one_docstring(name: str) -> None:
    blocking, asyncio = inspect.signature(BLOCKING[name]), inspect.signature(ASYNCIO[name])
    assert blocking.parameters == asyncio.parameters
    assert BLOCKING[name].__doc__ == ASYNCIO[name].__doc__
    assert BLOCKING[name].__doc__
    assert not inspect.iscoroutinefunction(BLOCKING[name])
    returns = str(blocking.return_annotation)
    if inspect.iscoroutinefunction(ASYNCIO[name]):
        assert asyncio.return_annotation == returns
    else:
        start = next(start for start in RETURNS if returns.startswith(start))
        assert asyncio.return_annotation == returns.replace(start, RETURNS[start])


def test_the_methods_of_messages_are_those_of_the_clients() -> None:
    assert methods(MessageMethods).keys() == BLOCKING.keys() - {"close"}


def test_both_clients_are_made_with_the_same_arguments() -> None:
    blocking, asyncio = (
        inspect.signature(client) for client in (ContentGenerationClient, AsyncContentGenerationClient)
    )
    assert list(blocking.parameters) == list(asyncio.parameters)


def test_every_exception_can_be_imported_from_the_package() -> None:
    raised = {name for name, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, Exception)}
    own = {name for name in raised if getattr(errors, name).__module__ == errors.__name__}
    assert own <= set(client.__all__)
    assert all(issubclass(getattr(contentgen, name), contentgen.ContentGenerationError) for name in own)


def test_what_the_package_does_not_have_is_named() -> None:
    with pytest.raises(AttributeError, match="module 'contentgen' has no attribute 'Cleint'"):
        _ = contentgen.Cleint  # type: ignore[attr-defined]


def test_a_method_of_an_instance_is_bound() -> None:
    with ContentGenerationClient("127.0.0.1:1") as instance:
        assert instance.wait.__self__ is instance  # type: ignore[attr-defined] # a bound method at run time
        assert list(inspect.signature(instance.wait).parameters) == ["task_id", "timeout", "check"]
