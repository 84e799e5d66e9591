"""Contents, entries of the pool, accounts and workers: each state under each RPC that could change it."""

from __future__ import annotations

from typing import Any

import pytest
from grpc import StatusCode

from tests.contract.reflection.world import ACCOUNTS, CONTENTS, LATER, POOL, World
from tests.harness.rpc_errors import refused

pytestmark = pytest.mark.asyncio(loop_scope="module")

DECIDED = {"approved": "approved", "approved_by_review": "approved", "rejected": "rejected"}
"""What `World` makes, and the review status that it has; `unreviewed` is the one that a review decides."""
ENTRIES = {
    "unclaimed": "pending",
    "claimed": "publishing",
    "lapsed": "pending",
    "claimed_anew": "publishing",
    "published": "published",
    "unpublishable": "pending",
}
"""What `World` makes, and the status that the entry then has."""


async def entry_of(world: World) -> dict[str, Any]:
    """The only entry of the account."""
    listed = await world.reflected.call(f"{CONTENTS}/ListPublishPool", account_id=world.account_id)
    (entry,) = listed["entries"]
    fields: dict[str, Any] = entry
    return fields


def short(status: str) -> str:
    return status.removeprefix("PUBLISH_STATUS_").lower()


@pytest.mark.parametrize(
    ("decision", "outcome", "entries"),
    [("REVIEW_DECISION_APPROVE", "REVIEW_STATUS_APPROVED", 1), ("REVIEW_DECISION_REJECT", "REVIEW_STATUS_REJECTED", 0)],
)
async def test_a_pending_review_is_decided(world: World, decision: str, outcome: str, entries: int) -> None:
    content_id = (await world.unreviewed())["content_id"]
    rpc = f"{CONTENTS}/ReviewContent"
    answer = await world.reflected.call(rpc, content_id=content_id, decision=decision)
    assert answer["content"]["review_status"] == outcome
    listed = await world.reflected.call(f"{CONTENTS}/ListPublishPool", account_id=world.account_id)
    assert len(listed.get("entries", ())) == entries


@pytest.mark.parametrize("state", DECIDED)
@pytest.mark.parametrize("decision", ["REVIEW_DECISION_APPROVE", "REVIEW_DECISION_REJECT"])
async def test_a_review_decision_is_final(world: World, decision: str, state: str) -> None:
    content_id = (await world.make(state))["content_id"]
    before = await world.reflected.call(f"{CONTENTS}/GetContent", content_id=content_id)
    with refused(StatusCode.FAILED_PRECONDITION, "INVALID_STATE") as refusal:
        await world.reflected.call(f"{CONTENTS}/ReviewContent", content_id=content_id, decision=decision)
    assert refusal.metadata == {"current_state": DECIDED[state], "required_state": "pending_review"}
    assert await world.reflected.call(f"{CONTENTS}/GetContent", content_id=content_id) == before


@pytest.mark.parametrize("state", ENTRIES)
async def test_only_the_claim_that_holds_an_entry_ends_it(world: World, state: str) -> None:
    entry = await world.make(state)
    before = await entry_of(world)
    assert short(before["status"]) == ENTRIES[state]
    named = {"content_id": entry["content_id"], "claim_id": entry["claim_id"]}
    for published in (True, False):
        if state == "claimed" and published:
            continue  # it would be taken: see below
        if state == "claimed":
            named["claim_id"] = "claim-of-nobody"
        with refused(StatusCode.FAILED_PRECONDITION, "INVALID_STATE") as refusal:
            await world.reflected.call(f"{CONTENTS}/ReportPublished", published=published, **named)
        assert refusal.metadata == {"current_state": ENTRIES[state], "required_state": "publishing"}
    assert await entry_of(world) == before


@pytest.mark.parametrize(("published", "status"), [(True, "published"), (False, "pending")])
async def test_the_claim_that_holds_an_entry_can_end_it(world: World, published: bool, status: str) -> None:
    entry = await world.claimed()
    named = {"content_id": entry["content_id"], "claim_id": entry["claim_id"]}
    answer = await world.reflected.call(f"{CONTENTS}/ReportPublished", published=published, error="why", **named)
    assert short(answer["entry"]["status"]) == status
    assert await entry_of(world) == answer["entry"]


@pytest.mark.parametrize("state", ["unreviewed", "rejected"])
async def test_contents_outside_the_pool_are_not_found_there(world: World, state: str) -> None:
    content_id = (await world.make(state))["content_id"]
    with refused(StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND") as refusal:
        await world.reflected.call(
            f"{CONTENTS}/ReportPublished", content_id=content_id, claim_id="claim", published=True
        )
    assert refusal.metadata == {"resource_type": "content", "resource_id": content_id}


@pytest.mark.parametrize("state", ENTRIES)
async def test_only_pending_entries_of_the_pool_are_claimed(world: World, state: str) -> None:
    entry = await world.make(state)
    answer = await world.reflected.call(f"{CONTENTS}/ClaimPublishPool", account_id=world.account_id, limit=10)
    claimed = [item["content_id"] for item in answer.get("entries", ())]
    due = ENTRIES[state] == "pending" and state != "unpublishable"  # that one waits for its next attempt
    assert claimed == ([entry["content_id"]] if due else [])


EDITS: dict[str, tuple[dict[str, Any], set[str]]] = {
    "RetryPublish": ({}, {"unpublishable"}),
    "RemoveFromPublishPool": ({}, ENTRIES.keys() - {"claimed", "claimed_anew"}),
    "UpdatePublishPoolEntry": (
        {"priority": 9, "schedule_time": LATER},
        ENTRIES.keys() - {"claimed", "claimed_anew", "published"},
    ),
}
"""The new values that each takes, and what it is allowed for."""
REQUIRED = {
    "RetryPublish": "failed",
    "RemoveFromPublishPool": "pending,published,failed",
    "UpdatePublishPoolEntry": "pending,failed",
}


@pytest.mark.parametrize("state", ENTRIES)
@pytest.mark.parametrize("rpc", EDITS)
async def test_entries_are_edited_in_their_states_only(world: World, rpc: str, state: str) -> None:
    values, allowed = EDITS[rpc]
    content_id = (await world.make(state))["content_id"]
    before = await entry_of(world)
    edit = {"content_id": content_id, **values}
    request = {"entry": edit, "update_mask": "priority,scheduleTime"} if values else edit
    if state not in allowed:
        with refused(StatusCode.FAILED_PRECONDITION, "INVALID_STATE") as refusal:
            await world.reflected.call(f"{CONTENTS}/{rpc}", **request)
        assert refusal.metadata == {"current_state": ENTRIES[state], "required_state": REQUIRED[rpc]}
        assert await entry_of(world) == before
        return
    answer = await world.reflected.call(f"{CONTENTS}/{rpc}", **request)
    if rpc == "RemoveFromPublishPool":
        listed = await world.reflected.call(f"{CONTENTS}/ListPublishPool", account_id=world.account_id)
        assert not listed.get("entries")
        return
    entry = answer["entry"]
    assert entry == await entry_of(world)
    assert short(entry["status"]) == ("pending" if rpc == "RetryPublish" else ENTRIES[state])
    assert {key: entry[key] for key in values} == values


@pytest.mark.parametrize("state", ENTRIES)
async def test_only_the_claim_that_holds_an_entry_renews_it(world: World, state: str) -> None:
    entry = await world.make(state)
    named = {"content_id": entry["content_id"], "claim_id": entry["claim_id"]}
    before = await entry_of(world)
    if state == "claimed":
        renewed = await world.reflected.call(f"{CONTENTS}/RenewPublishClaim", lease="9000s", **named)
        assert renewed["entry"]["claim_expire_time"] > before["claim_expire_time"]
        return
    with refused(StatusCode.FAILED_PRECONDITION, "INVALID_STATE") as refusal:
        await world.reflected.call(f"{CONTENTS}/RenewPublishClaim", **named)
    assert refusal.metadata == {"current_state": ENTRIES[state], "required_state": "publishing"}
    assert await entry_of(world) == before


@pytest.mark.parametrize(("state", "refuses"), [("account", False), ("inactive", True)])
async def test_an_account_takes_submits_while_it_is_active(world: World, state: str, refuses: bool) -> None:
    account_id = (await world.make(state))["account_id"]
    submit = {"account_id": account_id, "topic": "a topic"}
    if not refuses:
        assert (await world.submit(**submit))["status"] == "TASK_STATUS_PENDING"
    for active in (False, False, True, True):
        await _switch(world, account_id, active=active)
        account = (await world.reflected.call(f"{ACCOUNTS}/GetAccount", account_id=account_id))["account"]
        assert account.get("active", False) is active
        if active:
            assert (await world.submit(**submit))["status"] == "TASK_STATUS_PENDING"
            continue
        with refused(StatusCode.FAILED_PRECONDITION, "ACCOUNT_INACTIVE") as refusal:
            await world.submit(**submit)
        assert refusal.metadata == {"account_id": account_id}


async def _switch(world: World, account_id: str, *, active: bool) -> None:
    if active:
        account = {"account_id": account_id, "active": True}
        await world.reflected.call(f"{ACCOUNTS}/UpdateAccount", account=account, update_mask="active")
    else:
        await world.reflected.call(f"{ACCOUNTS}/DeactivateAccount", account_id=account_id)


@pytest.mark.parametrize("state", ["connected", "draining", "disconnected"])
async def test_a_worker_is_controlled_whether_it_is_connected_or_not(world: World, state: str) -> None:
    worker_id = (await world.make(state))["worker_id"]
    for slots in (1, 7, 7):
        resized = await world.reflected.call(f"{POOL}/ResizeWorker", worker_id=worker_id, slots=slots)
        assert resized["worker"]["slots"] == slots
        assert resized["worker"].get("draining", False) is (state == "draining")
    for _ in range(2):
        drained = await world.reflected.call(f"{POOL}/DrainWorker", worker_id=worker_id)
        assert drained["worker"]["draining"] is True
    for _ in range(2):
        undrained = await world.reflected.call(f"{POOL}/UndrainWorker", worker_id=worker_id)
        assert undrained["worker"].get("draining", False) is False
