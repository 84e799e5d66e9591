"""Pictures arrive with their articles, whatever they are, and though a scheduler dies while it gets one."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from contentgen import ContentGenerationClient
from contentgen.v1 import content_service_pb2 as content_pb
from tests.harness.creators import picture_creator
from tests.harness.pictures import HOSTILE_PICTURES
from tests.harness.stack import EMBEDDED, Scheduler, Stack
from tests.harness.waiting import wait_until

pytestmark = pytest.mark.e2e

PATIENT_LEASE = 15.0
_MIB = 2**20


def check_assets(scheduler: Scheduler) -> None:
    """The only content has its assets, and each asset has its bytes."""
    with ContentGenerationClient(scheduler.target) as client:
        (listed,) = client.iter_contents()
        content = client.get_content(listed["content_id"])
        assert content is not None
        assert content["left_out_assets"] == []
        assert content["images"] == [f"asset:{asset['name']}" for asset in content["assets"]]
        assert content["assets"]
        for asset in content["assets"]:
            data = client.read_asset(asset["sha256"])
            assert (len(data), hashlib.sha256(data).hexdigest()) == (asset["size"], asset["sha256"])
            assert f"](asset:{asset['name']})" in content["body"]


TOPIC = "人工智能的未来发展"
"""Of the example of the old application's quick reference."""


@pytest.mark.parametrize(("profile", "database_url"), [("reference", EMBEDDED), ("json", None)])
def test_the_reference_example_becomes_a_content_with_pictures_and_a_pool_entry(
    stack: Stack, profile: str, database_url: str | None
) -> None:
    scheduler = stack.scheduler(database_url=database_url).start()
    client = scheduler.client
    stack.worker("worker", scheduler, CREATOR_PROFILE=profile, CREATOR_DEMO_SECONDS="0.1").start()
    account_id = client.create_account()
    task = client.wait_completed(client.submit(account_id, TOPIC, priority=8, auto_approve=True), within=15)
    moves = [("pending", "SUBMITTED"), ("submitted", "LEASED"), ("processing", "STARTED"), ("completed", "COMPLETED")]
    assert client.moves(task.task_id) == moves
    content = client.content(task.content_id)
    assert (content.task_id, content.account_id, content.title) == (task.task_id, account_id, TOPIC)
    assert TOPIC in content.body
    assert content.word_count == len(content.body) > 200
    assert 0 < len(content.summary) <= 200
    assert not set("#![]*\n") & set(content.summary)
    assert content.review_status == content_pb.REVIEW_STATUS_APPROVED
    [entry] = client.publish_pool()
    assert (entry.content_id, entry.account_id, entry.priority) == (content.content_id, account_id, 8)
    assert entry.status == content_pb.PUBLISH_STATUS_PENDING
    check_assets(scheduler)
    assert [(asset.media_type, asset.width, asset.height) for asset in content.assets] == [("image/png", 160, 90)] * 2
    assert {path.name for path in (scheduler.data_dir / "assets/objects").glob("*/*")} == {
        asset.sha256 for asset in content.assets
    }


def test_hostile_pictures_cost_a_scheduler_little_and_their_articles_arrive(stack: Stack) -> None:
    for name, make in HOSTILE_PICTURES.items():
        (stack.folder / name).write_bytes(make())
    names = sorted(HOSTILE_PICTURES)
    setup = f"import shutil; [shutil.copy({str(stack.folder)!r} + '/' + name, '.') for name in {names}]"
    scheduler = stack.scheduler().start()
    client = scheduler.client
    cli = picture_creator(stack.folder, setup, content="an article", images=names)
    stack.worker("worker", scheduler, CREATOR_CLI_PATH=str(cli)).start()
    before = _peak_memory(scheduler)
    task = client.wait_completed(client.submit(client.create_account()), within=60)
    kinds = {asset.name: asset.media_type for asset in client.content(task.content_id).assets}
    assert kinds == dict.fromkeys(names, "application/octet-stream") | {"canvas": "image/gif", "chunks": "image/png"}
    assert _peak_memory(scheduler) < before + 100 * _MIB, "one alone would take up to 1,200"


def _peak_memory(scheduler: Scheduler) -> int:
    """Bytes that the process has held at most."""
    status = Path(f"/proc/{scheduler.pid}/status").read_text()
    (kilobytes,) = (line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
    return int(kilobytes) * 1024


def test_a_scheduler_that_dies_in_the_middle_of_an_upload_gets_it_again(stack: Stack) -> None:
    scheduler = stack.scheduler(lease_ttl=PATIENT_LEASE).start()
    client = scheduler.client
    setup = "open('film.bin', 'wb').write(os.urandom(30 * 1024 * 1024))"
    cli = str(picture_creator(stack.folder, setup, content="![](film.bin)", images=["film.bin"]))
    worker = stack.worker("worker", scheduler, CREATOR_CLI_PATH=cli).start()
    task_id = client.submit(client.create_account())
    wait_until(lambda: _incoming(scheduler), within=15, what="the upload has begun")
    scheduler.kill()
    assert worker.spooled()
    scheduler.start()
    scheduler.client.wait_completed(task_id, within=30)
    check_assets(scheduler)
    wait_until(lambda: not list(worker.folder.glob("workers/*/assets/*")), within=5, what="the worker has let it go")


def _incoming(scheduler: Scheduler) -> list[Path]:
    """Uploads that have begun."""
    return [path for path in scheduler.data_dir.glob("assets/incoming/*") if path.stat().st_size]
