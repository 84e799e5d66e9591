"""Who is compared: how each is run at its best, and what a figure of it is worth."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Store(Enum):
    """Where a queue keeps its tasks."""

    POSTGRES = "PostgreSQL"
    REDIS = "Redis"
    REDIS_ALWAYS = "Redis, appendfsync always"

    @property
    def is_redis(self) -> bool:
        return self is not Store.POSTGRES


@dataclass(frozen=True, slots=True)
class Contender:
    """`module` is of `lab.benchmarks.peers.apps`, `worker` what starts one worker process, after `python`.

    `share` of the tasks of a run keeps a slow one within the time. `leaves` says what a task leaves whose handler does
    nothing, and whether a late worker is fenced off. `keeps_results`: of 2 KB, in its own store.
    """

    name: str
    store: Store
    packages: tuple[str, ...]
    module: str
    worker: tuple[str, ...]
    has_bulk: bool
    share: float
    settings: str
    leaves: str
    keeps_results: bool = False
    drain_is_our_job: bool = False

    @property
    def key(self) -> str:
        """Names it on the command line and in the figures."""
        return self.name + _SUFFIXES[self.store]


_SUFFIXES = {Store.POSTGRES: "", Store.REDIS: "-redis", Store.REDIS_ALWAYS: "-redis-always"}
_APPS = "lab.benchmarks.peers.apps"
CONTENTGEN = "contentgen"


def _script(module: str) -> tuple[str, ...]:
    return ("-m", f"{_APPS}.{module}")


OURS = Contender(
    CONTENTGEN,
    Store.POSTGRES,
    ("contentgen-grpc", "grpcio", "psycopg2-binary", "uvloop"),
    "",
    (),
    has_bulk=True,
    share=1,
    settings="1 scheduler, 2,000 leases a worker, batches of 500",
    leaves="the result and its pool row, one commit; every write fenced",
    drain_is_our_job=True,
)

_ON_POSTGRES = (
    Contender(
        "pgqueuer",
        Store.POSTGRES,
        ("pgqueuer", "asyncpg", "uvloop"),
        "with_pgqueuer",
        _script("with_pgqueuer"),
        has_bulk=True,
        share=1,
        settings="batch_size 500, uvloop, asyncpg; durable tables",
        leaves="nothing: the row is deleted; no result, no fence",
    ),
    Contender(
        "procrastinate",
        Store.POSTGRES,
        ("procrastinate", "psycopg", "uvloop"),
        "with_procrastinate",
        _script("with_procrastinate"),
        has_bulk=True,
        share=0.2,
        settings="concurrency 30, delete_jobs always, uvloop",
        leaves="nothing: the row is deleted; no result, no fence",
    ),
    Contender(
        "saq",
        Store.POSTGRES,
        ("saq", "psycopg", "uvloop"),
        "with_saq",
        _script("with_saq"),
        has_bulk=False,
        share=0.2,
        settings="concurrency 100, uvloop",
        leaves="the result for 10 minutes; no fence",
        keeps_results=True,
    ),
)


def _on_redis(store: Store) -> tuple[Contender, ...]:
    slower = 0.5 if store is Store.REDIS_ALWAYS else 1
    celery = ("-m", "celery", "-A", f"{_APPS}.with_celery", "worker", "-P", "solo", "--prefetch-multiplier", "200")
    quiet = ("--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "WARNING")
    taskiq = ("-m", "taskiq", "worker", "--workers", "1", "--max-async-tasks", "1000", "--ack-type", "when_received")
    return (
        Contender(
            "celery",
            store,
            ("celery", "kombu", "redis"),
            "with_celery",
            (*celery, *quiet),
            has_bulk=False,
            share=0.2 * slower,
            settings="-P solo, prefetch 200, without gossip, mingle and heartbeat",
            leaves="the result for a day; acknowledged before it runs, no fence",
            keeps_results=True,
        ),
        Contender(
            "dramatiq",
            store,
            ("dramatiq", "redis"),
            "with_dramatiq",
            ("-m", "dramatiq", "--processes", "1", "--threads", "4", f"{_APPS}.with_dramatiq"),
            has_bulk=False,
            share=0.5 * slower,
            settings="4 threads a process, prefetch 1,000",
            leaves="the result for 10 minutes; no fence",
            keeps_results=True,
        ),
        Contender(
            "taskiq",
            store,
            ("taskiq", "taskiq-redis", "redis", "uvloop"),
            "with_taskiq",
            (*taskiq, "--log-level", "WARNING", f"{_APPS}.with_taskiq:broker"),
            has_bulk=False,
            share=0.5 * slower,
            settings="stream broker, 1,000 async tasks, ack when_received, uvloop",
            leaves="the result; acknowledged before it runs, no fence",
            keeps_results=True,
        ),
        Contender(
            "saq",
            store,
            ("saq", "redis", "hiredis", "uvloop"),
            "with_saq",
            _script("with_saq"),
            has_bulk=False,
            share=0.5 * slower,
            settings="concurrency 100, uvloop, hiredis",
            leaves="the result for 10 minutes; no fence",
            keeps_results=True,
        ),
    )


PEERS = (*_ON_POSTGRES, *_on_redis(Store.REDIS), *_on_redis(Store.REDIS_ALWAYS))
ALL = (OURS, *PEERS)
