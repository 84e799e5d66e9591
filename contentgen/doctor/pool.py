"""The workers: their versions, who is there, whether their CLIs run. Layer: inside doctor."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import islice

from contentgen.client.client import AsyncMethods
from contentgen.client.results import Worker, WorkerPool
from contentgen.doctor.findings import Finding, Phrase, fail, joined, ok, warn
from contentgen.doctor.readable import age, line
from contentgen.version import own_version

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


async def examined(client: AsyncMethods, who: Phrase, schedulers: Collection[str]) -> list[Finding]:
    """Reports on versions, workers and their CLIs. `who` names this program, `schedulers` has their versions."""
    pool = await client.get_worker_pool_status()
    workers = pool["worker_statuses"]
    return [*_versions(who, workers, schedulers), *_workers(pool), *_clis(workers)]


def _versions(who: Phrase, workers: Sequence[Worker], schedulers: Collection[str]) -> Iterator[Finding]:
    our_version = own_version()
    other_schedulers = {*schedulers} - {our_version}
    other_workers = {worker["version"] or "" for worker in workers if worker["running"]} - {our_version, ""}
    differences = []
    if other_schedulers:
        differences.append(Phrase("schedulers are {versions}", versions=", ".join(sorted(other_schedulers))))
    if other_workers:
        differences.append(Phrase("workers are {versions}", versions=", ".join(sorted(other_workers))))
    if differences:
        message = Phrase("{who} is {own}, {found}", who=who, own=our_version, found=joined(differences))
        yield warn("version", message, Phrase("bring all to one version, schedulers first"))
    else:
        agreement = _compared(workers, schedulers)
        yield ok("version", Phrase("{who} is {own}, {compared}", who=who, own=our_version, compared=agreement))


def _compared(workers: Sequence[Worker], schedulers: Collection[str]) -> Phrase:
    if schedulers and workers:
        return Phrase("as are the schedulers and the workers")
    if schedulers:
        return Phrase("as are the schedulers")
    if workers:
        return Phrase("as are the workers; the schedulers' versions are not known")
    return Phrase("and nothing is there to compare with; the schedulers' versions are not known")


def _workers(found: WorkerPool) -> Iterator[Finding]:
    """Reports which workers take tasks, and which are not heard of any more."""
    running = [worker for worker in found["worker_statuses"] if worker["running"]]
    yield _taking(found, running)
    for worker in running:
        if worker["last_error"] and not worker["unhealthy"]:
            yield warn(
                "workers",
                Phrase("{worker}: {error}", worker=line(worker["worker_id"]), error=line(worker["last_error"])),
                _DISK_ADVICE if worker["last_error"].startswith(_DISK_REFUSES) else _SIZE_ADVICE,
            )
    missing = [
        entry["worker_id"]
        for entry in found["worker_statuses"]
        if not (entry["running"] or entry["connected"] or entry["draining"])
    ]
    if missing:
        message = Phrase("{workers} not heard of any more", workers=some(missing))
        yield warn("workers", message, Phrase("where that is not meant, look at its log"))


def _taking(pool: WorkerPool, running: Sequence[Worker]) -> Finding:
    healthy = [worker for worker in running if not worker["unhealthy"]]
    if healthy:
        busy, slots = sum(worker["busy_slots"] for worker in healthy), sum(worker["slots"] for worker in healthy)
        message = Phrase("{n} take tasks, {busy} of {slots} slots are busy", n=len(healthy), busy=busy, slots=slots)
        unhealthy = len(running) - len(healthy)
        return ok(
            "workers", Phrase("{message}; {n} more unhealthy", message=message, n=unhealthy) if unhealthy else message
        )
    if running:
        message = Phrase("all {n} are unhealthy: each tries one task at a time", n=len(running))
        return fail("workers", message, Phrase("mend their CLIs"))
    if pool["num_workers"]:
        message = Phrase("all {n} are draining", n=pool["num_workers"])
        return fail("workers", message, Phrase("restart them, or start others: contentgen-worker"))
    return fail(
        "workers",
        Phrase("none is connected"),
        Phrase("start contentgen-worker, with CONTENTGEN_SCHEDULER set to this target"),
    )


def _clis(workers: Sequence[Worker]) -> Iterator[Finding]:
    """Reports whether the workers' CLIs run, and have the same version."""
    running = [worker for worker in workers if worker["running"]]
    for worker in workers:
        if worker["unhealthy"]:
            yield _unhealthy(worker)
    cli_versions = {worker["creator_version"] or "without a version" for worker in running}
    if len(cli_versions) > 1:
        message = Phrase("workers have different ones: {versions}", versions=some(sorted(cli_versions)))
        yield warn("cli", message, Phrase("install the same one everywhere"))
    elif cli_versions and not any(worker["unhealthy"] for worker in running):
        cli_version = line(cli_versions.pop())
        everywhere = Phrase("{version} on all workers", version=cli_version)
        yield ok("cli", everywhere if len(running) > 1 else Phrase("{version} on the worker", version=cli_version))


def _unhealthy(worker: Worker) -> Finding:
    name, duration = line(worker["worker_id"]), age(worker["unhealthy_since"])
    broken = Phrase("that of {worker} fails at once or is gone", worker=name)
    if duration:
        broken = Phrase("that of {worker} fails at once or is gone, for {age}", worker=name, age=duration)
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
    """Returns the first few names, and how many more there are."""
    remaining = len(names) - _NAMED
    first = ", ".join(line(name) for name in islice(names, _NAMED))
    return Phrase("{names} and {n} more", names=first, n=remaining) if remaining > 0 else first
