"""Who is compared: how each is run at its best, and what a figure of it is worth."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Store(Enum):
    POSTGRES = "PostgreSQL"
    REDIS = "Redis"
    REDIS_ALWAYS = "Redis, appendfsync always"

    @property
    def is_redis(self) -> bool:
        return self is not Store.POSTGRES


_SUFFIXES = {Store.POSTGRES: "", Store.REDIS: "-redis", Store.REDIS_ALWAYS: "-redis-always"}
_APPS = "lab.benchmarks.peers.apps"
CONTENTGEN = "contentgen"


@dataclass(frozen=True, slots=True)
class Contender:
    """`share` of the tasks of a run keeps a slow one within the time.

    `leaves` says what a task leaves whose handler does nothing, and whether a late worker is fenced off.
    `keeps_results`: of 2 KB, in its own store.
    """

    name: str
    store: Store
    packages: tuple[str, ...]
    settings: str
    leaves: str
    share: float = 1
    starts: tuple[str, ...] = ()
    """What starts one worker process, after `python`. Without it the module of the peer is a script that does."""
    has_bulk: bool = False
    keeps_results: bool = True
    drain_is_our_job: bool = False

    @property
    def key(self) -> str:
        """Names it on the command line and in the figures."""
        return self.name + _SUFFIXES[self.store]

    @property
    def module(self) -> str:
        return f"with_{self.name}"

    @property
    def worker(self) -> tuple[str, ...]:
        return self.starts or ("-m", f"{_APPS}.{self.module}")


_NOTHING = "nothing: the row is deleted; no result, no fence"
_FOR_MINUTES = "the result for 10 minutes; no fence"
OURS = Contender(
    CONTENTGEN, Store.POSTGRES, ("contentgen-grpc", "grpcio", "psycopg2-binary", "uvloop"),
    "1 scheduler, 2,000 leases a worker, batches of 500", "the result and its pool row, one commit; every write fenced",
    has_bulk=True, keeps_results=False, drain_is_our_job=True,
)  # fmt: skip
_ON_POSTGRES = (
    Contender(
        "pgqueuer", Store.POSTGRES, ("pgqueuer", "asyncpg", "uvloop"),
        "batch_size 500, uvloop, asyncpg; durable tables", _NOTHING, has_bulk=True, keeps_results=False,
    ),
    Contender(
        "procrastinate", Store.POSTGRES, ("procrastinate", "psycopg", "uvloop"),
        "concurrency 30, delete_jobs always, uvloop", _NOTHING, 0.2, has_bulk=True, keeps_results=False,
    ),
    Contender("saq", Store.POSTGRES, ("saq", "psycopg", "uvloop"), "concurrency 100, uvloop", _FOR_MINUTES, 0.2),
)  # fmt: skip


def _on_redis(store: Store) -> tuple[Contender, ...]:
    slower = 0.5 if store is Store.REDIS_ALWAYS else 1
    celery = ("-m", "celery", "-A", f"{_APPS}.with_celery", "worker", "-P", "solo", "--prefetch-multiplier", "200")
    quiet = ("--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "WARNING")
    dramatiq = ("-m", "dramatiq", "--processes", "1", "--threads", "4", f"{_APPS}.with_dramatiq")
    taskiq = ("-m", "taskiq", "worker", "--workers", "1", "--max-async-tasks", "1000", "--ack-type", "when_received")
    taskiq_app = ("--log-level", "WARNING", f"{_APPS}.with_taskiq:broker")
    return (
        Contender(
            "celery", store, ("celery", "kombu", "redis"),
            "-P solo, prefetch 200, without gossip, mingle and heartbeat",
            "the result for a day; acknowledged before it runs, no fence", 0.2 * slower, (*celery, *quiet),
        ),
        Contender(
            "dramatiq", store, ("dramatiq", "redis"),
            "4 threads a process, prefetch 1,000", _FOR_MINUTES, 0.5 * slower, dramatiq,
        ),
        Contender(
            "taskiq", store, ("taskiq", "taskiq-redis", "redis", "uvloop"),
            "stream broker, 1,000 async tasks, ack when_received, uvloop",
            "the result; acknowledged before it runs, no fence", 0.5 * slower, (*taskiq, *taskiq_app),
        ),
        Contender(
            "saq", store, ("saq", "redis", "hiredis", "uvloop"),
            "concurrency 100, uvloop, hiredis", _FOR_MINUTES, 0.5 * slower,
        ),
    )  # fmt: skip


PEERS = (*_ON_POSTGRES, *_on_redis(Store.REDIS), *_on_redis(Store.REDIS_ALWAYS))
ALL = (OURS, *PEERS)
