"""The workers: their versions, who is there, whether their CLIs run. Layer: inside doctor."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from importlib.metadata import version
from itertools import islice

from contentgen.client.results import Worker, WorkerPool
from contentgen.doctor.findings import Finding, fail, ok, warn
from contentgen.doctor.phrases import Phrase, joined
from contentgen.doctor.readable import age, line

_NAMED = 3
"""Of many things, as many are named."""
_DISK_REFUSES = "the data folder can't be written"
"""So begins a worker's own word for it."""
_DISK_ADVICE = Phrase(
    "it takes no task: make space in its CONTENTGEN_DATA_DIR, and do not restart it before, since results may be in its"
    " memory only"
)
_SIZE_ADVICE = Phrase(
    "look for what limits the size of requests between it and the scheduler (nginx: client_max_body_size); it tries"
    " again by itself, 5 min apart at most, and at once when it is restarted"
)


def versions(who: Phrase, workers: Sequence[Worker], schedulers: Collection[str]) -> Iterator[Finding]:
    """Ours (`who`: this program), the schedulers' and the workers'."""
    own = version("contentgen-grpc")
    other_schedulers = {*schedulers} - {own}
    other_workers = {it["version"] or "" for it in workers if it["running"]} - {own, ""}
    found = []
    if other_schedulers:
        found.append(Phrase("schedulers are {versions}", versions=", ".join(sorted(other_schedulers))))
    if other_workers:
        found.append(Phrase("workers are {versions}", versions=", ".join(sorted(other_workers))))
    if found:
        message = Phrase("{who} is {own}, {found}", who=who, own=own, found=joined(found))
        yield warn("version", message, Phrase("bring all to one version, schedulers first"))
    else:
        compared = _compared(workers, schedulers)
        yield ok("version", Phrase("{who} is {own}, {compared}", who=who, own=own, compared=compared))


def _compared(workers: Sequence[Worker], schedulers: Collection[str]) -> Phrase:
    if schedulers and workers:
        return Phrase("as are the schedulers and the workers")
    if schedulers:
        return Phrase("as are the schedulers")
    if workers:
        return Phrase("as are the workers; the schedulers' versions are not known")
    return Phrase("and nothing is there to compare with; the schedulers' versions are not known")


def workers(found: WorkerPool) -> Iterator[Finding]:
    """Who is connected, and who is not any more."""
    running = [worker for worker in found["worker_statuses"] if worker["running"]]
    yield _taking(found, running)
    for worker in running:
        if worker["last_error"] and not worker["unhealthy"]:
            yield warn(
                "workers",
                Phrase("{worker}: {error}", worker=line(worker["worker_id"]), error=line(worker["last_error"])),
                _DISK_ADVICE if worker["last_error"].startswith(_DISK_REFUSES) else _SIZE_ADVICE,
            )
    gone = [
        it["worker_id"] for it in found["worker_statuses"] if not (it["running"] or it["connected"] or it["draining"])
    ]
    if gone:
        message = Phrase("{workers} not heard of any more", workers=some(gone))
        yield warn("workers", message, Phrase("where that is not meant, look at its log"))


def _taking(found: WorkerPool, running: Sequence[Worker]) -> Finding:
    healthy = [worker for worker in running if not worker["unhealthy"]]
    if healthy:
        busy, slots = sum(it["busy_slots"] for it in healthy), sum(it["slots"] for it in healthy)
        message = Phrase("{n} take tasks, {busy} of {slots} slots are busy", n=len(healthy), busy=busy, slots=slots)
        ill = len(running) - len(healthy)
        return ok("workers", Phrase("{message}; {n} more unhealthy", message=message, n=ill) if ill else message)
    if running:
        message = Phrase("all {n} are unhealthy: each tries one task at a time", n=len(running))
        return fail("workers", message, Phrase("mend their CLIs"))
    if found["num_workers"]:
        message = Phrase("all {n} are draining", n=found["num_workers"])
        return fail("workers", message, Phrase("restart them, or start others: contentgen-worker"))
    return fail(
        "workers",
        Phrase("none is connected"),
        Phrase("start contentgen-worker, with CONTENTGEN_SCHEDULER set to this target"),
    )


def clis(workers: Sequence[Worker]) -> Iterator[Finding]:
    """Whether the workers' CLIs run, and are the same."""
    running = [worker for worker in workers if worker["running"]]
    for worker in workers:
        if worker["unhealthy"]:
            yield _unhealthy(worker)
    said = {worker["creator_version"] or "without a version" for worker in running}
    if len(said) > 1:
        message = Phrase("workers have different ones: {versions}", versions=some(sorted(said)))
        yield warn("cli", message, Phrase("install the same one everywhere"))
    elif said and not any(worker["unhealthy"] for worker in running):
        one = line(said.pop())
        everywhere = Phrase("{version} on all workers", version=one)
        yield ok("cli", everywhere if len(running) > 1 else Phrase("{version} on the worker", version=one))


def _unhealthy(worker: Worker) -> Finding:
    name, since = line(worker["worker_id"]), age(worker["unhealthy_since"])
    broken = Phrase("that of {worker} fails at once or is gone", worker=name)
    if since:
        broken = Phrase("that of {worker} fails at once or is gone, for {age}", worker=name, age=since)
    return fail(
        "cli",
        Phrase("{broken}: {error}", broken=broken, error=line(worker["last_error"]) or Phrase("no reason is given")),
        Phrase(
            "look at CREATOR_CLI_PATH and what it needs on {host}; the worker tries one task at a time, 5 min apart at"
            " most, and takes all again once one completes, or once it is restarted",
            host=line(worker["hostname"]) or Phrase("its host"),
        ),
    )


def some(names: Sequence[str]) -> Phrase | str:
    """The first few of them, and how many more there are."""
    more = len(names) - _NAMED
    first = ", ".join(line(name) for name in islice(names, _NAMED))
    return Phrase("{names} and {n} more", names=first, n=more) if more > 0 else first
