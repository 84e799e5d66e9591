"""The table of an account's fields, beside the messages, the client and the scheduler."""

from __future__ import annotations

import inspect
from dataclasses import fields

import pytest

from contentgen import ContentGenerationClient
from contentgen.account_fields import FIELDS
from contentgen.v1 import account_service_pb2 as pb
from scheduler_svc.domain.account import AccountChange, AccountSettings

pytestmark = pytest.mark.unit

CREATED = {field.name for field in FIELDS} - {"active"}
NOT_SET = {"account_id", "create_time", "month_cost", "budget_used_up"}


def test_the_table_has_the_fields_of_the_messages_of_the_client_and_of_the_scheduler() -> None:
    names = {field.name for field in FIELDS}
    assert names == {field.name for field in pb.Account.DESCRIPTOR.fields} - NOT_SET
    assert names == {field.name for field in fields(AccountChange)}
    assert {field.name for field in pb.CreateAccountRequest.DESCRIPTOR.fields} == CREATED
    assert {field.name for field in fields(AccountSettings)} == CREATED
    with ContentGenerationClient("127.0.0.1:1") as client:
        assert names == {*inspect.signature(client.update_account).parameters} - {"account_id"}
        assert {*inspect.signature(client.create_account).parameters} == CREATED


def test_help_says_what_each_argument_of_an_update_means() -> None:
    with ContentGenerationClient("127.0.0.1:1") as client:
        documented = inspect.getdoc(client.update_account) or ""
    assert [field.name for field in FIELDS if f"\n    {field.name}: " not in documented] == []
