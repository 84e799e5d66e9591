"""The rows of RPCs are those of the protos, in their order, and name what their messages have."""

from __future__ import annotations

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from contentgen.rpcs import METHODS, RPCS, Change
from scheduler_svc.config.tokens import ROLES

CHANGES = {name: rpc.changes for name, rpc in RPCS.items() if rpc.changes}


def field(message: Descriptor, path: str) -> FieldDescriptor:
    """The field at the end of a path. Raises KeyError if there is none."""
    first, _, rest = path.partition(".")
    descriptor = message.fields_by_name[first]
    if not rest:
        return descriptor
    assert descriptor.message_type
    return field(descriptor.message_type, rest)


def test_each_rpc_of_the_protos_has_its_row() -> None:
    assert list(RPCS) == list(METHODS)


def test_callers_are_roles_of_tokens() -> None:
    assert {role for rpc in RPCS.values() for role in rpc.callers.split()} == set(ROLES) - {"operator"}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_names_fields_of_its_messages(name: str) -> None:
    change: Change = CHANGES[name]
    named = field(METHODS[name].input_type, change.named) if change.named else None
    made = field(METHODS[name].output_type, change.made) if change.made else None
    assert named or made
    for descriptor in (named, made):
        assert descriptor is None or descriptor.is_repeated == change.several
    assert made is None or made.message_type is not None
