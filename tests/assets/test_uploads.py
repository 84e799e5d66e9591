"""Uploads, names and the collection of assets against each other, on a real database and a real folder."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from scheduler_svc.assets import work as collection
from scheduler_svc.assets.stores import FolderStore
from scheduler_svc.assets.work import Quota, StoredFile
from scheduler_svc.contents.asset_work import NewFile, put_asset
from scheduler_svc.domain.content import MAX_NAMED, Media, NamedAsset, TaskResult
from scheduler_svc.domain.errors import AssetStoreUnavailable, InvalidArgument, LeaseLost
from scheduler_svc.domain.ids import LeaseRef
from scheduler_svc.domain.lease import AttemptCompleted
from scheduler_svc.leases import upload_work as uploads
from scheduler_svc.leases.upload_work import Upload
from scheduler_svc.publishing.work import delete_content
from scheduler_svc.tasks import bulk as cleanup
from tests.harness.pictures import has, sha256
from tests.harness.scheduling import Scheduling, overtaken

pytestmark = pytest.mark.integration

DATA = b"a file"
DIGEST = sha256(DATA)
AGE = timedelta(days=7)


class Files:
    """Uploads of one file by leases of a scheduler, what their contents name, and the collection."""

    def __init__(self, scheduling: Scheduling, store: FolderStore) -> None:
        self.scheduling, self.store = scheduling, store
        self.run, self.sql, self.start = scheduling.run, scheduling.sql, scheduling.start

    def begin(self, ref: LeaseRef) -> tuple[Upload, Any]:
        """An upload whose row is there, and the quota; None if the file is there, too."""
        upload = Upload(ref.lease_id, ref, StoredFile(DIGEST, len(DATA)))
        return upload, self.run(uploads.begin, upload, "", 0)

    def write(self) -> None:
        with self.store.incoming() as incoming:
            incoming.file.write(DATA)
            self.store.keep(incoming, DIGEST)

    def end(self, begun: Upload, quota: Quota) -> None:
        self.run(collection.complete, quota, begun.file, Media("text/plain"), "a store")

    def upload(self, ref: LeaseRef) -> None:
        begun, quota = self.begin(ref)
        if quota is not None:
            self.write()
            self.end(begun, quota)

    def uploaded(self) -> LeaseRef:
        """A lease that has uploaded the file."""
        ref = self.start()
        self.upload(ref)
        return ref

    def complete(self, ref: LeaseRef) -> list[str | None]:
        """Reports a result that names the asset; what its content names then."""
        self.scheduling.report(ref, AttemptCompleted(TaskResult("a body", assets=(NamedAsset("a.txt", DIGEST),))))
        return [row[0] for row in self.sql("SELECT sha256 FROM content_assets ORDER BY content_id DESC LIMIT 1")]

    def retire(self) -> None:
        assert self.run(collection.retire, "", AGE) is None

    def delete_retired(self) -> int:
        return int(self.run(collection.delete_retired, self.store, AGE))

    def collect(self) -> int:
        """A whole round of the collection; how many it deleted."""
        self.retire()
        return self.delete_retired()

    def delete(self, content_id: int) -> None:
        self.run(lambda tx: delete_content(tx, content_id, force=True))

    def age_all(self) -> None:
        self.sql("UPDATE assets SET touch_time = touch_time - interval '8 days'")

    def stored(self) -> tuple[int, bool]:
        """The rows of assets, and whether the object is there."""
        return len(self.sql("SELECT FROM assets")), has(self.store, DIGEST)

    def counted(self) -> list[tuple[int, int]]:
        """The bytes that count, by account; checks that the sum is that of the rows."""
        rows = self.sql("SELECT account_id, sum(size)::bigint FROM account_assets GROUP BY 1 ORDER BY 1")
        sums = self.sql("SELECT account_id, bytes FROM asset_usage WHERE bytes <> 0 ORDER BY 1")
        assert rows == sums
        return [tuple(row) for row in sums]


@pytest.fixture
def files(scheduling: Scheduling, tmp_path: Path) -> Files:
    return Files(scheduling, FolderStore(tmp_path / "assets"))


def test_what_nothing_names_is_collected_a_week_after_its_upload(files: Files) -> None:
    files.uploaded()
    assert files.collect() == 0
    assert files.stored() == (1, True)
    files.age_all()
    assert files.collect() == 1
    assert files.stored() == (0, False)


def test_what_a_content_names_stays_until_a_week_after_its_deletion(files: Files) -> None:
    ref = files.uploaded()
    assert files.complete(ref) == [DIGEST]
    files.age_all()
    assert files.collect() == 0
    [(content_id,)] = files.sql("SELECT content_id FROM contents")
    files.run(cleanup.delete, [ref.task_key])  # a content outlives its task
    files.delete(content_id)
    assert files.collect() == 0
    files.age_all()
    assert files.collect() == 1
    assert files.stored() == (0, False)


@pytest.mark.parametrize("written", [False, True])
def test_an_upload_that_died_is_collected_or_completed_by_the_next(files: Files, written: bool) -> None:
    ref = files.start()
    files.begin(ref)
    if written:
        files.write()
    files.begin(ref)
    files.age_all()
    assert files.collect() == 1
    assert files.stored() == (0, False)
    files.upload(ref)
    assert files.complete(ref) == [DIGEST]


def test_a_report_names_no_asset_whose_upload_is_not_complete(files: Files) -> None:
    ref = files.start()
    files.begin(ref)
    files.write()
    assert files.complete(ref) == [None]


def test_an_upload_after_the_first_step_of_the_collection_saves_the_asset(files: Files) -> None:
    files.uploaded()
    files.age_all()
    files.retire()
    ref = files.start()
    begun = files.begin(ref)
    assert files.delete_retired() == 0
    files.write()
    files.end(*begun)
    assert files.complete(ref) == [DIGEST]


def test_a_collection_that_died_between_object_and_commit_leaves_nothing_that_can_be_named(files: Files) -> None:
    files.uploaded()
    files.age_all()
    files.retire()
    files.store.delete(DIGEST)
    ref = files.start()
    files.begin(ref)
    assert files.complete(ref) == [None]


def test_an_upload_that_the_collection_overtook_is_not_complete(files: Files) -> None:
    begun = files.begin(files.start())
    files.write()
    files.age_all()
    assert files.collect() == 1
    with pytest.raises(AssetStoreUnavailable, match="deleted while it was uploaded"):
        files.end(*begun)


def test_a_store_that_hangs_costs_the_collection_a_bounded_time(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collection, "MAX_SECONDS", 0.0)  # each deletion takes longer
    store = files.store
    digests = [f"{number:064x}" for number in range(3)]
    for digest in digests:
        files.sql(f"INSERT INTO assets (sha256, size) VALUES ('{digest}', 1)")
        with store.incoming() as incoming:
            incoming.file.write(b"1")
            store.keep(incoming, digest)
    files.age_all()
    for left in (2, 1, 0):
        assert files.delete_retired() == 1
        assert len(files.sql("SELECT FROM assets")) == left
        assert sum(has(store, digest) for digest in digests) == left
    assert files.delete_retired() == 0


def test_a_report_waits_for_the_collection_and_names_nothing_that_it_takes(files: Files) -> None:
    ref = files.uploaded()
    files.age_all()
    named = overtaken(files.scheduling, lambda tx: collection.retire(tx, "", AGE), lambda: files.complete(ref))
    assert named == [None]


def test_the_collection_leaves_what_a_report_is_about_to_name(files: Files) -> None:
    ref = files.uploaded()
    files.age_all()
    with files.scheduling.transaction() as tx:
        assert tx.assets.lock_complete([DIGEST]) == {DIGEST}
        assert files.collect() == 0
    assert files.complete(ref) == [DIGEST]


def test_a_lease_that_is_gone_takes_no_upload_and_one_that_ran_out_does(files: Files) -> None:
    ref = files.start()
    files.sql("UPDATE leases SET expire_time = now() - interval '1 s'")
    files.scheduling.reap()
    files.upload(ref)
    assert files.complete(ref) == [DIGEST]
    with pytest.raises(LeaseLost):
        files.begin(ref)


def test_an_asset_counts_for_a_week_and_while_a_content_of_the_account_names_it(files: Files) -> None:
    one, two = files.start(), files.start(account_id=files.scheduling.make_account())
    for ref in (one, two):
        files.upload(ref)
        files.complete(ref)
    assert files.counted() == [(1, len(DATA)), (2, len(DATA))]
    files.run(cleanup.delete, [one.task_key, two.task_key])
    [(of_two,)] = files.sql("SELECT content_id FROM contents WHERE account_id = 2")
    files.delete(of_two)
    files.collect()
    assert files.counted() == [(1, len(DATA)), (2, len(DATA))]
    files.sql("UPDATE account_assets SET upload_time = upload_time - interval '8 days'")
    files.collect()
    assert files.counted() == [(1, len(DATA))]
    files.delete(of_two - 1)
    files.age_all()
    files.collect()
    assert (files.counted(), files.stored()) == ([], (0, False))


def test_what_an_editor_replaces_is_collected_a_week_later_and_a_content_names_100_files(files: Files) -> None:
    files.complete(files.uploaded())
    [(content_id,)] = files.sql("SELECT content_id FROM contents")
    files.sql("INSERT INTO assets (sha256, size, complete) VALUES (:other, 1, true)", other="f" * 64)
    other = StoredFile("f" * 64, 1)

    def put(name: str) -> None:
        new = NewFile(content_id, name, "", "anna")
        files.run(lambda tx: put_asset(tx, new, other, Quota(1, 0), media=None, store_id="a store"))

    files.age_all()
    put("a.txt")
    assert files.collect() == 0
    files.age_all()
    assert files.collect() == 1
    assert files.sql("SELECT sha256, position FROM content_assets") == [("f" * 64, 0)]
    for number in range(1, MAX_NAMED):
        put(str(number))
    with pytest.raises(InvalidArgument):
        put("one more")


def test_what_was_stored_without_being_counted_counts_after_a_round(files: Files) -> None:
    ref = files.uploaded()
    files.complete(ref)
    files.sql("DELETE FROM account_assets")
    files.sql("DELETE FROM asset_usage")
    for _ in range(2):
        files.collect()
        assert files.counted() == [(1, len(DATA))]
