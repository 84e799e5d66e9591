"""A real worker process against a scheduler that says what the test wants it to say."""

from __future__ import annotations

from pathlib import Path

from tests.integration.scripted_scheduler import lease, scripted_scheduler
from tests.integration.worker_process import DEMO_CREATOR, worker_process


async def test_a_task_from_hello_to_acknowledged_result(tmp_path: Path) -> None:
    async with scripted_scheduler() as scheduler:
        with worker_process(tmp_path, scheduler.target, CONTENTGEN_TOKEN="secret") as worker:
            stream, hello = await scheduler.session()
            assert stream.metadata["authorization"] == "Bearer secret"
            assert (hello.slots, hello.session_number) == (3, 1)
            assert hello.creator_path == str(DEMO_CREATOR)
            assert "demo-creator" in hello.creator_version
            assert not hello.held_leases

            state = await stream.until("state")
            assert (state.number, state.free_slots, state.last_assignment) == (1, 3, 0)
            stream.assign(1, state.number, lease("a", topic="--help", demo_seconds="0.1"))
            result = (await stream.update("completed", "a")).completed.result
            assert "--help" in result.body
            assert [u.lease_id for u in stream.updates("accepted")] == ["a"]
            assert [u.lease_id for u in stream.updates("processing")] == ["a"]

            state = await stream.until("state", lambda s: not s.held_leases)
            assert (state.free_slots, state.last_assignment) == (3, 1)
            assert list((tmp_path / "workers/1/spool").iterdir()) == []
            worker.term()
            assert await worker.ended() == 0
