"""Uploads, names and the collection of assets against each other, on a real database and a real folder."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from threading import Thread

import pytest

from scheduler_svc.assets import work as collection
from scheduler_svc.assets.stores import FolderStore
from scheduler_svc.assets.work import Quota
from scheduler_svc.domain.content import Media, NamedAsset, TaskResult
from scheduler_svc.domain.errors import AssetStoreUnavailable, LeaseLost
from scheduler_svc.domain.ids import LeaseRef
from scheduler_svc.domain.lease import AttemptCompleted
from scheduler_svc.leases import upload_work as uploads
from scheduler_svc.leases.upload_work import Upload
from scheduler_svc.publishing.work import delete_content
from scheduler_svc.tasks import bulk as cleanup
from tests.harness.pictures import has, sha256
from tests.harness.scheduling import Scheduling
from tests.harness.waiting import wait_until

pytestmark = pytest.mark.integration

DATA = b"a file"
DIGEST = sha256(DATA)
AGE = timedelta(days=7)


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "assets")


def begin(scheduling: Scheduling, ref: LeaseRef) -> tuple[Upload, Quota]:
    """An upload whose row is there."""
    upload = Upload(ref.lease_id, ref, DIGEST, len(DATA))
    return upload, scheduling.run(uploads.begin, upload, "", 0)


def write(store: FolderStore) -> None:
    with store.incoming() as incoming:
        incoming.file.write(DATA)
        store.keep(incoming, DIGEST)


def upload(scheduling: Scheduling, store: FolderStore, ref: LeaseRef) -> None:
    begun, quota = begin(scheduling, ref)
    if quota is not None:
        write(store)
        scheduling.run(uploads.complete, begun, quota, Media("text/plain"), "a store")


def complete(scheduling: Scheduling, ref: LeaseRef) -> list[str | None]:
    """Reports a result that names the asset; what its content names then."""
    scheduling.report(ref, AttemptCompleted(TaskResult("a body", assets=(NamedAsset("a.txt", DIGEST),))))
    rows = scheduling.sql("SELECT sha256 FROM content_assets ORDER BY content_id DESC LIMIT 1")
    return [row[0] for row in rows]


def collect(scheduling: Scheduling, store: FolderStore) -> int:
    """A whole round of the collection; how many it deleted."""
    after: str | None = ""
    while after is not None:
        after = scheduling.run(collection.retire, after, AGE)
    return int(scheduling.run(collection.delete_retired, store, AGE))


def age_all(scheduling: Scheduling) -> None:
    scheduling.sql("UPDATE assets SET touch_time = touch_time - interval '8 days'")


def stored(scheduling: Scheduling, store: FolderStore) -> tuple[int, bool]:
    """The rows of assets, and whether the object is there."""
    return len(scheduling.sql("SELECT FROM assets")), has(store, DIGEST)


def test_what_nothing_names_is_collected_a_week_after_its_upload(scheduling: Scheduling, store: FolderStore) -> None:
    upload(scheduling, store, scheduling.start())
    assert collect(scheduling, store) == 0
    assert stored(scheduling, store) == (1, True)
    age_all(scheduling)
    assert collect(scheduling, store) == 1
    assert stored(scheduling, store) == (0, False)


def test_what_a_content_names_stays_until_a_week_after_its_deletion(scheduling: Scheduling, store: FolderStore) -> None:
    ref = scheduling.start()
    upload(scheduling, store, ref)
    assert complete(scheduling, ref) == [DIGEST]
    age_all(scheduling)
    assert collect(scheduling, store) == 0
    [(content_id,)] = scheduling.sql("SELECT content_id FROM contents")
    scheduling.run(cleanup.delete, [ref.task_key])  # a content outlives its task
    scheduling.run(lambda tx: delete_content(tx, content_id, force=True))
    assert collect(scheduling, store) == 0
    age_all(scheduling)
    assert collect(scheduling, store) == 1
    assert stored(scheduling, store) == (0, False)


@pytest.mark.parametrize("written", [False, True])
def test_an_upload_that_died_is_collected_or_completed_by_the_next(
    scheduling: Scheduling, store: FolderStore, written: bool
) -> None:
    ref = scheduling.start()
    begin(scheduling, ref)
    if written:
        write(store)
    begin(scheduling, ref)
    age_all(scheduling)
    assert collect(scheduling, store) == 1
    assert stored(scheduling, store) == (0, False)
    upload(scheduling, store, ref)
    assert complete(scheduling, ref) == [DIGEST]


def test_a_report_names_no_asset_whose_upload_is_not_complete(scheduling: Scheduling, store: FolderStore) -> None:
    ref = scheduling.start()
    begin(scheduling, ref)
    write(store)
    assert complete(scheduling, ref) == [None]


def test_an_upload_after_the_first_step_of_the_collection_saves_the_asset(
    scheduling: Scheduling, store: FolderStore
) -> None:
    upload(scheduling, store, scheduling.start())
    age_all(scheduling)
    assert scheduling.run(collection.retire, "", AGE) is None
    ref = scheduling.start()
    begun = begin(scheduling, ref)
    assert scheduling.run(collection.delete_retired, store, AGE) == 0
    write(store)
    scheduling.run(uploads.complete, *begun, Media("text/plain"), "a store")
    assert complete(scheduling, ref) == [DIGEST]


def test_a_collection_that_died_between_object_and_commit_leaves_nothing_that_can_be_named(
    scheduling: Scheduling, store: FolderStore
) -> None:
    upload(scheduling, store, scheduling.start())
    age_all(scheduling)
    scheduling.run(collection.retire, "", AGE)
    store.delete(DIGEST)
    ref = scheduling.start()
    begin(scheduling, ref)
    assert complete(scheduling, ref) == [None]


def test_an_upload_that_the_collection_overtook_is_not_complete(scheduling: Scheduling, store: FolderStore) -> None:
    begun = begin(scheduling, scheduling.start())
    write(store)
    age_all(scheduling)
    assert collect(scheduling, store) == 1
    with pytest.raises(AssetStoreUnavailable, match="deleted while it was uploaded"):
        scheduling.run(uploads.complete, *begun, Media("text/plain"), "a store")


def test_an_object_store_that_hangs_costs_the_collection_a_bounded_time(
    scheduling: Scheduling, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collection, "MAX_SECONDS", 0.0)  # each deletion takes longer
    store = FolderStore(tmp_path / "assets")
    digests = [f"{number:064x}" for number in range(3)]
    for digest in digests:
        scheduling.sql(f"INSERT INTO assets (sha256, size) VALUES ('{digest}', 1)")
        with store.incoming() as incoming:
            incoming.file.write(b"1")
            store.keep(incoming, digest)
    age_all(scheduling)
    for left in (2, 1, 0):
        assert scheduling.run(collection.delete_retired, store, AGE) == 1
        assert len(scheduling.sql("SELECT FROM assets")) == left
        assert sum(has(store, digest) for digest in digests) == left
    assert scheduling.run(collection.delete_retired, store, AGE) == 0


def test_a_report_waits_for_the_collection_and_names_nothing_that_it_takes(
    scheduling: Scheduling, store: FolderStore
) -> None:
    ref = scheduling.start()
    upload(scheduling, store, ref)
    age_all(scheduling)
    named: list[str | None] = []
    with scheduling.transaction() as tx:
        collection.retire(tx, "", AGE)
        reporting = Thread(target=lambda: named.extend(complete(scheduling, ref)))
        reporting.start()
        waits = "SELECT FROM pg_locks WHERE NOT granted"
        wait_until(lambda: scheduling.sql(waits), within=10, what="the report waits for the asset's lock")
    reporting.join()
    assert named == [None]


def test_the_collection_leaves_what_a_report_is_about_to_name(scheduling: Scheduling, store: FolderStore) -> None:
    ref = scheduling.start()
    upload(scheduling, store, ref)
    age_all(scheduling)
    with scheduling.transaction() as tx:
        assert tx.assets.lock_complete([DIGEST]) == {DIGEST}
        assert collect(scheduling, store) == 0
    assert complete(scheduling, ref) == [DIGEST]


def test_a_lease_that_is_gone_takes_no_upload_and_one_that_ran_out_does(
    scheduling: Scheduling, store: FolderStore
) -> None:
    ref = scheduling.start()
    scheduling.sql("UPDATE leases SET expire_time = now() - interval '1 s'")
    scheduling.reap()
    upload(scheduling, store, ref)
    assert complete(scheduling, ref) == [DIGEST]
    with pytest.raises(LeaseLost):
        begin(scheduling, ref)


def counted(scheduling: Scheduling) -> list[tuple[int, int]]:
    """The bytes that count, by account; checks that the sum is that of the rows."""
    rows = scheduling.sql("SELECT account_id, sum(size)::bigint FROM account_assets GROUP BY 1 ORDER BY 1")
    sums = scheduling.sql("SELECT account_id, bytes FROM asset_usage WHERE bytes <> 0 ORDER BY 1")
    assert rows == sums
    return [tuple(row) for row in sums]


def test_an_asset_counts_for_a_week_and_while_a_content_of_the_account_names_it(
    scheduling: Scheduling, store: FolderStore
) -> None:
    one, two = scheduling.start(), scheduling.start(account_id=scheduling.make_account())
    for ref in (one, two):
        upload(scheduling, store, ref)
        complete(scheduling, ref)
    assert counted(scheduling) == [(1, len(DATA)), (2, len(DATA))]
    scheduling.run(cleanup.delete, [one.task_key, two.task_key])
    [(of_two,)] = scheduling.sql("SELECT content_id FROM contents WHERE account_id = 2")
    scheduling.run(lambda tx: delete_content(tx, of_two, force=True))
    collect(scheduling, store)
    assert counted(scheduling) == [(1, len(DATA)), (2, len(DATA))]
    scheduling.sql("UPDATE account_assets SET upload_time = upload_time - interval '8 days'")
    collect(scheduling, store)
    assert counted(scheduling) == [(1, len(DATA))]
    scheduling.run(lambda tx: delete_content(tx, of_two - 1, force=True))
    age_all(scheduling)
    collect(scheduling, store)
    assert (counted(scheduling), stored(scheduling, store)) == ([], (0, False))


def test_what_was_stored_without_being_counted_counts_after_a_round(scheduling: Scheduling, store: FolderStore) -> None:
    ref = scheduling.start()
    upload(scheduling, store, ref)
    complete(scheduling, ref)
    scheduling.sql("DELETE FROM account_assets")
    scheduling.sql("DELETE FROM asset_usage")
    for _ in range(2):
        collect(scheduling, store)
        assert counted(scheduling) == [(1, len(DATA))]
