"""A chaos campaign's plan, its clients, its CLI and its journals."""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
from collections import defaultdict
from contextlib import nullcontext
from dataclasses import fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from lab.chaos import evidence
from lab.chaos.clients import ACCOUNTS, Wish, wish
from lab.chaos.creator import FILE, PICTURES
from lab.chaos.evidence import CREATOR_JOURNAL, JOURNAL, Appender, Journals, Run, read_journals
from lab.chaos.faults import KINDS, Fault
from lab.chaos.fleet import EVERYTHING, creator_settings, victims, write_creator
from lab.chaos.plan import plan
from tests.harness.load import Callers
from tests.harness.processes import belonging_to, living
from tests.harness.waiting import PATIENCE_S, wait_until, wait_until_gone

pytestmark = pytest.mark.lab


# The campaign's CLI as a program: what it tells its journal, and how it misbehaves.


class Creator:
    """The program in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._program = write_creator(folder)

    def start(self, **options: object) -> subprocess.Popen[bytes]:
        arguments = {"task-id": "task-1", "chaos-seconds": 0.3} | {
            name.replace("_", "-"): v for name, v in options.items()
        }
        return subprocess.Popen(
            [self._program, "create", *(f"--{name}={value}" for name, value in arguments.items())],
            env=creator_settings(self._program, "worker-1"),
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def output(self, **options: object) -> tuple[bytes, int]:
        process = self.start(**options)
        return process.communicate(timeout=PATIENCE_S)[0], process.returncode

    def runs(self) -> list[Run]:
        return list(read_journals(self.folder).runs)


@pytest.fixture
def creator(tmp_path: Path) -> Creator:
    return Creator(tmp_path)


@pytest.mark.parametrize("picture", PICTURES)
def test_a_file_begins_like_the_picture_that_it_was_told_to_be(creator: Creator, picture: str) -> None:
    creator.output(chaos_file=2_000, chaos_picture=picture)
    [run] = creator.runs()
    data = (creator.folder / FILE).read_bytes()
    assert data.startswith(PICTURES[picture][0])
    assert len(data) > 2_000
    assert run.file_sha256 == hashlib.sha256(data).hexdigest()


def test_a_run_tells_of_its_life_and_the_result_names_it(creator: Creator) -> None:
    output, status = creator.output(chaos_characters=50)
    [run] = creator.runs()
    body = json.loads(output)["content"]
    assert (status, run.status, run.task_id, run.worker) == (0, 0, "task-1", "worker-1")
    assert run.run in body
    assert run.body_sha256 == hashlib.sha256(body.encode()).hexdigest()
    assert run.printed
    assert run.last - run.boottime >= 0.3


def test_the_creator_misbehaves_as_often_as_asked(creator: Creator) -> None:
    statuses = [creator.output(chaos_mode="fail", chaos_times=2)[1] for _ in range(3)]
    assert statuses == [3, 3, 0] == [run.status for run in creator.runs()]


def test_the_creator_defers(creator: Creator) -> None:
    process = creator.start(chaos_mode="defer")
    output, errors = process.communicate(timeout=PATIENCE_S)
    [run] = creator.runs()
    assert (output, errors, process.returncode, run.status) == (b"", b"retry-after: 1\n", 75, 75)
    assert not run.printed


def test_rubbish_is_no_result(creator: Creator) -> None:
    output, status = creator.output(chaos_mode="rubbish")
    assert output.endswith(b'{"content": ')
    [run] = creator.runs()
    assert (status, run.body_sha256, run.printed) == (0, "", False)


def test_a_deaf_run_outlives_term(creator: Creator) -> None:
    process = creator.start(chaos_mode="deaf")
    wait_until(creator.runs, within=PATIENCE_S, what="it has started")
    process.terminate()
    assert process.wait(PATIENCE_S) == 0
    process.communicate()


def test_a_forked_process_counts_as_part_of_its_run(creator: Creator) -> None:
    _, status = creator.output(chaos_mode="fork")
    assert status == 0
    [ended] = creator.runs()
    wait_until(lambda: creator.runs()[0].last > ended.last, within=PATIENCE_S, what="its orphan gives a sign of life")
    [orphan] = belonging_to(creator.folder)
    orphan.terminate()
    seen = creator.runs()[0].last
    wait_until(lambda: creator.runs()[0].last > seen, within=PATIENCE_S, what="and lives on after TERM")
    orphan.kill()
    wait_until_gone(lambda: living([orphan]), within=PATIENCE_S, what="but KILL ends it")


def test_no_space_for_scratch_is_a_failure_of_its_own(creator: Creator, tmp_path: Path) -> None:
    (tmp_path / "draft").mkdir()  # in place of the file that it would write
    assert creator.output()[1] == 4
    assert creator.runs()[0].status == 4


# What processes write into a campaign's journals while they are killed is read as it was meant.


START = {"event": "start", "run": "a", "task_id": "t", "worker": "w", "pid": 7, "time": 1000.0}
STARTED = Run("t", "a", "w", 1000.0, 10.0, 10.0)
NONE = Journals(*([] for _ in fields(Journals)))


def write(folder: Path, *lines: tuple[dict[str, Any], float], after: str = "") -> None:
    """Each line with its boottime."""
    text = "".join(f"{json.dumps({**line, 'boottime': boottime})}\n" for line, boottime in lines)
    (folder / CREATOR_JOURNAL).write_text(text + after)


def test_journals_that_were_never_begun_are_empty(tmp_path: Path) -> None:
    assert read_journals(tmp_path) == NONE


def test_appended_records_are_read(tmp_path: Path) -> None:
    records: dict[str, Any] = {
        "submits": evidence.Submit("t", "r", 1, "0123", 1000.0),
        "unsure": evidence.Unsure("s", 1, "4567", 1001.0),
        "cancels": evidence.Cancel("t", "cancelled", 1002.0),
        "faults": evidence.Fault(evidence.KILL, "worker-1", 1003.0, 13.0, 2.0),
        "watched": evidence.Watched("t", 1, "", "pending", 1000.0),
        "probes": evidence.Probe(1000.0, 1000.5),
        "health": evidence.HealthSeen("scheduler-1", False, 1004.0),
        "schedules": evidence.Scheduled(3, 1, 1000.0, 1120.0, 20.0),
        "subscribed": evidence.Subscribed(2),
        "received": evidence.Received("event", "task.ended", "t", "failed", accepted=True),
    }
    journal = Appender(tmp_path / JOURNAL)
    for record in records.values():
        journal.append(record, of_interest_to="people")
    journal.close()
    assert read_journals(tmp_path) == replace(NONE, **{name: [record] for name, record in records.items()})


def test_a_run_lives_until_its_last_beat_be_it_of_what_it_has_left_behind(tmp_path: Path) -> None:
    other = START | {"run": "b", "pid": 8}
    beat = {"event": "beat", "run": "a"}
    end = {"event": "end", "run": "b", "status": 0, "body_sha256": "ab", "file_sha256": "cd"}
    write(tmp_path, (START, 10.0), (other, 11.0), (beat, 11.5), (end, 12.0), (beat | {"run": "b"}, 12.5))
    assert read_journals(tmp_path).runs == [
        Run("t", "a", "w", 1000.0, 10.0, 11.5),
        Run("t", "b", "w", 1000.0, 11.0, 12.5, 0, "ab", "cd"),
    ]


def test_a_line_that_is_still_being_written_is_left_out(tmp_path: Path) -> None:
    write(tmp_path, (START, 10.0), after='{"event": "be')
    assert read_journals(tmp_path).runs == [STARTED]


def test_a_line_that_is_no_json_is_named(tmp_path: Path) -> None:
    write(tmp_path, (START, 10.0), after="{}}\n")
    with pytest.raises(ValueError, match=r"creator\.jsonl, line 2: .*\{\}\}"):
        read_journals(tmp_path)


# A seed makes one plan, for ever; and nobody is hurt twice at the same time.


VICTIMS = victims(8)
LONG = plan(7, 3_600, VICTIMS)


def test_a_seed_makes_the_same_plan_for_ever() -> None:
    assert plan(7, 5, VICTIMS) == (
        Fault(at=0.562, kind="worker-kill", victim="worker-07", duration=0.916, salt=360776764),
        Fault(at=1.927, kind="worker-kill", victim="worker-08", duration=0.767, salt=1414339737),
        Fault(at=2.633, kind="scheduler-kill", victim="scheduler-1", duration=0.755, salt=3143933298),
        Fault(at=3.421, kind="worker-kill", victim="worker-01", duration=0.781, salt=468858519),
        Fault(at=3.945, kind="open-transaction", victim="postgres", duration=13.705, salt=982378990),
        Fault(at=4.249, kind="worker-kill", victim="worker-03", duration=1.135, salt=3887477447),
        Fault(at=4.327, kind="machine-kill", victim="worker-06", duration=5.275, salt=2380877753),
        Fault(at=4.797, kind="guard-kill", victim="worker-04", duration=1.452, salt=643813964),
    )


def test_a_longer_campaign_begins_like_a_shorter_one_of_its_seed_alone() -> None:
    assert LONG[: len(plan(7, 60, VICTIMS))] == plan(7, 60, VICTIMS) != plan(8, 60, VICTIMS)


def test_an_hour_has_every_kind_at_the_rate_that_was_asked_for() -> None:
    assert {fault.kind for fault in LONG} == {kind.name for kind in KINDS}
    assert 3_000 < len(LONG) < 4_000
    assert all(earlier.at <= later.at < 3_600 for earlier, later in pairwise(LONG))


def test_a_kind_has_its_victims_and_durations() -> None:
    kinds = {kind.name: kind for kind in KINDS}
    for fault in LONG:
        kind = kinds[fault.kind]
        assert fault.victim.startswith(kind.group)
        assert kind.shortest <= fault.duration <= kind.longest


def test_no_victim_is_hurt_by_two_at_once() -> None:
    until: dict[str, float] = defaultdict(float)
    for fault in LONG:
        hit = VICTIMS if fault.victim == EVERYTHING else (fault.victim,)
        assert all(until[victim] <= fault.at for victim in hit), fault
        until |= dict.fromkeys(hit, fault.at + fault.duration)


def test_a_plan_has_only_the_chosen_kinds() -> None:
    chosen = ["worker-kill", "postgres-freeze"]
    assert {fault.kind for fault in plan(7, 600, VICTIMS, kinds=chosen)} == set(chosen)


# What the clients of a campaign wish for, which their seed alone decides.


ACCOUNT_IDS = range(1, 1 + len(ACCOUNTS))


def wishes(seed: str, count: int = 2_000) -> list[Wish]:
    chance = random.Random(seed)
    return [wish(chance, f"request {n}", ACCOUNT_IDS) for n in range(count)]


MANY = wishes("one")


def test_a_seed_makes_the_same_wishes() -> None:
    assert wishes("one", 10) == MANY[:10] != wishes("two", 10)


def test_all_accounts_and_all_ways_to_behave_come_up() -> None:
    assert {request.arguments["account_id"] for request in MANY} == set(ACCOUNT_IDS)
    modes = {request.arguments["creator_options"]["chaos-mode"] for request in MANY}
    assert modes == {"plain", "deaf", "fork", "talk", "fail", "defer", "rubbish", "hang"}


def test_a_task_that_hangs_at_first_can_complete_in_time_later() -> None:
    hanging = [request for request in MANY if request.arguments["creator_options"]["chaos-mode"] == "hang"]
    for request in hanging:
        assert float(request.arguments["creator_options"]["chaos-seconds"]) < request.arguments["timeout"] / 2
        assert request.then[-1][1] == "retry"


def test_some_tasks_are_cancelled_and_some_clients_give_up() -> None:
    cancelled = [what for request in MANY for _, what in request.then if what in {"cancel", "force"}]
    assert 80 < len(cancelled) < 160
    assert 0 < cancelled.count("cancel") < cancelled.count("force")
    assert 150 < sum(request.gives_up for request in MANY) < 250


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_client_that_dies_is_wrong() -> None:
    callers = Callers("127.0.0.1:1")
    callers.go("client-1", nullcontext, lambda _: [].pop())
    callers.stop()
    assert callers.wrong == ["the thread client-1 died: IndexError('pop from empty list')"]
