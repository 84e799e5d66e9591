"""A short campaign for one mutant: a few real processes, a task or two, and the evidence of all that happened."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from itertools import chain, repeat
from pathlib import Path

import grpc
import psycopg2

from contentgen.client import ContentGenerationClient, ScheduledTask
from lab.chaos import evidence
from lab.chaos.clients import NETWORK, Receiver, probing
from lab.chaos.collected import ask, left_by_services, read_stored, settled, sha256
from lab.chaos.evidence import JOURNAL, Appender, Evidence, Journals, Leftover, Run, Submit, read_journals
from lab.chaos.fleet import POSTGRES, creator_settings, write_creator
from lab.chaos.properties.notices import MINUTE
from tests.harness.cluster import rows_of, server_folder
from tests.harness.process import STOP_LIMIT
from tests.harness.stack import SHORT_LEASE, Scheduler, Stack, Worker
from tests.harness.waiting import wait_until
from tests.harness.wires import Cable, cable_to

STARTED = 10.0
"""Seconds within which a CLI starts on a task that is submitted, on a machine that is busy with other tests."""
REQUEUED = SHORT_LEASE + 10.0
"""Seconds within which a task whose lease is over runs elsewhere."""
_ENDED = 15.0


class Trial:
    """Schedulers and workers, to be started, with the campaign's CLI and its journals."""

    def __init__(self, folder: Path, database_url: str) -> None:
        self.folder = folder
        self.stack = Stack(folder, database_url)
        self._dsn = database_url.replace("+psycopg2", "")
        self._journal = Appender(folder / JOURNAL)
        self._program = write_creator(folder)
        self._workers: list[Worker] = []
        self._exits = ExitStack()
        self._exits.callback(self._journal.close)
        self.scheduler: Scheduler

    def serve(self, mutant: str | None = None, *, lease_ttl: float = SHORT_LEASE) -> Scheduler:
        self._lease_ttl = lease_ttl
        self.scheduler = self.stack.scheduler(lease_ttl=lease_ttl, CONTENTGEN_WEBHOOK_ALLOW=NETWORK)
        self._command = self.scheduler.command
        self.scheduler.command = _instead(self._command, mutant)
        return self.scheduler.start()

    def serve_again(self) -> None:
        """Starts the scheduler, the whole one, in place of what was killed."""
        self.scheduler.command = self._command
        self.scheduler.start()

    def worker(self, name: str, target: str | None = None, *, slots: int = 1, mutant: str | None = None) -> Worker:
        settings = creator_settings(self._program, name)
        worker = self.stack.worker(name, target or self.scheduler.target, slots=slots, **settings)
        worker.command = _instead(worker.command, mutant)
        self._workers.append(worker)
        return worker.start()

    def account(self, cap: int = 0) -> int:
        """Returns a new account, which may have so many tasks under way; 0: any number."""
        with ContentGenerationClient(self.scheduler.target) as client:
            return int(client.create_account("an account", cap, 1.0)["account_id"])

    def submit(self, account_id: int | None = None, **options: str) -> str:
        """Returns the id of a new task, journaled; of a new account where none is named. `options` are the CLI's."""
        account_id, now = account_id or self.account(), time.time()
        prefixed = {f"chaos-{name}": value for name, value in options.items()}
        task_id = self.scheduler.client.submit(account_id, "a topic", request_id=f"request {now}", options=prefixed)
        self._journal.append(Submit(task_id, f"request {now}", account_id, sha256("a topic"), now))
        return task_id

    def cable(self) -> Cable:
        """Returns one to the scheduler; whole until it is cut."""
        return self._exits.enter_context(cable_to(self.scheduler.port))

    def subscribe(self) -> None:
        receiver = self._exits.enter_context(Receiver(self._journal, chain([True], repeat(False))))
        self._journal.append(receiver.subscribe(self.scheduler.target))

    def tick(self) -> None:
        """A schedule of a new account has the tick of this minute, which is due, and its task.

        The minute may turn meanwhile, so that there is a second tick.
        """
        account_id = self.account()
        task: ScheduledTask = {"topic": "a topic"}
        with ContentGenerationClient(self.scheduler.target) as client:
            schedule_id = client.create_schedule(account_id, "* * * * *", task, catch_up="all")["schedule_id"]
            minute = time.time() // MINUTE * MINUTE
            self.sql(f"UPDATE schedules SET next_tick = to_timestamp({minute}), due_time = now()")
            query = f"SELECT 1 FROM schedule_tasks WHERE tick = to_timestamp({minute})"
            wait_until(lambda: self.sql(query), within=10.0, what="the tick has a task")
            client.pause_schedule(schedule_id)
        self._journal.append(evidence.Scheduled(schedule_id, account_id, minute - 1, minute, 0.0))

    @property
    def journals(self) -> Journals:
        return read_journals(self.folder)

    def wait_run(self, task_id: str, number: int = 1, *, within: float = STARTED) -> Run:

        def started() -> list[Run]:
            return [run for run in self.journals.runs if run.task_id == task_id][number - 1 :]

        return wait_until(started, within=within, what=f"run {number} of {task_id} has started")[0]

    def wait_ended(self, run: Run) -> None:
        """Waits until a run has come to its own end."""

        def ended() -> bool:
            return any(entry.status is not None for entry in self.journals.runs if entry.run == run.run)

        wait_until(ended, within=STARTED, what=f"run {run.run} has ended")

    def finish(self) -> Evidence:
        """Returns all of it, once every task has ended, or won't any more; then the services have stopped."""
        submits = self.journals.submits
        _wait_if_possible(self._all_ended, _ENDED)
        _wait_if_possible(
            lambda: not self.sql("SELECT 1 FROM webhook_deliveries WHERE next_attempt_time IS NOT NULL"), _ENDED
        )
        accounts = (submit.account_id for submit in submits)
        stored = read_stored(self._dsn)
        task_ids = [*(submit.task_id for submit in submits), *(tick.task_id for tick in stored.ticks)]
        answers = ask(self.scheduler.target, task_ids, accounts)
        leftovers = self._stop()
        return Evidence(self.journals, stored, answers, leftovers, self._lease_ttl)

    def close(self) -> None:
        self.stack.end()
        self._exits.close()

    @contextmanager
    def other_session(self, table: str, where: str, *, seconds: float) -> Iterator[None]:
        """Has somebody's transaction hold these rows for so long, journaled."""
        with closing(psycopg2.connect(self._dsn)) as connection:
            rows_of(connection, f"SELECT FROM {table} WHERE {where} FOR UPDATE")
            now, boottime = time.time(), time.clock_gettime(time.CLOCK_BOOTTIME)
            fault = evidence.Fault(evidence.ROW_LOCK, POSTGRES, now, boottime, seconds, tables=table)
            self._journal.append(fault)
            end = threading.Timer(seconds, connection.close)
            end.start()
            try:
                yield
            finally:
                end.cancel()
                end.join()

    @contextmanager
    def submitting(self, account_id: int) -> Iterator[None]:
        """Submits a task beside the block; it may be refused while another session holds what it needs."""

        def taken() -> bool:
            with suppress(grpc.RpcError):
                return bool(self.submit(account_id, seconds="0.2"))
            return False

        with ThreadPoolExecutor(1) as pool:
            submitted = pool.submit(wait_until, taken, within=_ENDED, what="the submit is acknowledged")
            yield
            submitted.result()

    def probe(self, account_id: int, *, until: float) -> None:
        """Submits one task again and again for so many seconds; each acknowledgement is journaled."""
        with probing(self.scheduler.target, self._journal, f"probe of {account_id}", account_id, []):
            time.sleep(until)

    def sql(self, statement: str) -> list[tuple[object, ...]]:
        """Asks or changes the database itself; returns the rows, if it has any."""
        with closing(psycopg2.connect(self._dsn)) as connection, connection:
            return rows_of(connection, statement)

    def _all_ended(self) -> bool:
        """A task that was lost is none that could end."""
        return all(task.HasField("end_time") for task in self.scheduler.client.list_tasks())

    def _stop(self) -> list[Leftover]:
        """Ends the services, workers first; what is left of them some seconds later."""
        workers = [worker.folder for worker in self._workers]

        def left() -> list[Leftover]:
            return left_by_services(self.folder, workers, self._dsn, frozenset({os.getpid()}))

        for service in (*self._workers, self.scheduler):
            if service.alive:
                service.signal(signal.SIGTERM)
                _wait_if_possible(lambda: not service.alive, STOP_LIMIT)  # noqa: B023 - it is called at once
        return settled(left, 3.0)


@contextmanager
def trial_on(database_url: str) -> Iterator[Trial]:
    with server_folder() as folder, closing(Trial(folder, database_url)) as trial:
        yield trial


def _wait_if_possible(predicate: Callable[[], bool], limit: float) -> None:
    """What is not so by then is evidence."""
    with suppress(AssertionError):
        wait_until(predicate, within=limit, what="it may never be")


def _instead(command: list[str], mutant: str | None) -> list[str]:
    module = Path(command[0]).name.removeprefix("contentgen-")
    return command if mutant is None else [sys.executable, "-m", f"lab.chaos.mutants.{module}", mutant]
