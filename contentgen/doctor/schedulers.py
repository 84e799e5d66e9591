"""The schedulers themselves: whether they serve and agree, how their lanes stand, who holds locks or a transaction.

Layer: inside doctor.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from contentgen.client.client import AsyncMethods
from contentgen.client.errors import RequestError
from contentgen.client.results import Lane, LockHolder, Maintenance, OldestTransaction, Replica, System
from contentgen.doctor.findings import Finding, Phrase, fail, joined, ok, warn
from contentgen.doctor.pool import some
from contentgen.doctor.readable import duration, line

_SILENT_AFTER, _FORGOTTEN_AFTER = 25.0, 300.0
"""Seconds without a word of a replica: it says how it stands each 10 s at least. Later it may be gone on purpose."""
_NOTHING = 0.1
"""Seconds: what waits for less counts as nothing."""
_CLOCK_TOLERANCE, _MAX_CLOCK_OFFSET = 5.0, 300.0
"""Seconds between the clocks of a scheduler and the database that are said, and with which it does not serve."""
_MAX_TRANSACTION_AGE = 10.0
"""Seconds that the oldest transaction may be open, unsaid."""
_NOT_FOR_US = frozenset({"ROLE_FORBIDDEN", "ACCOUNT_FORBIDDEN"})


async def system_of(client: AsyncMethods) -> System | None:
    """Returns the state of all schedulers. Returns None if the token may not read it, or the scheduler is too old."""
    try:
        return await client.get_system()
    except RequestError as error:
        if error.code == "UNIMPLEMENTED" or error.reason in _NOT_FOR_US:
            return None
        raise


def schedulers(system: System | None) -> Iterator[Finding]:
    """Yields one line where all is well, with the age of what waits longest.

    Else a line for each that does not serve, each that has fallen silent, each lane with items set aside, and each
    session that holds locks. Then one for maintenance, each setting of PostgreSQL without which a crash loses
    acknowledged work, each clock that is off, each setting that differs, each standby that is not read, and a
    transaction that has been open for long.
    """
    if system is None:
        return
    replicas = _here(system)
    findings = [*_not_serving(replicas), *_silent(system), *_set_aside(replicas), *_holders(system["lock_holders"])]
    yield from findings
    if not findings:
        yield ok("schedulers", Phrase("{n} of {n} serve, and {waits}", n=len(replicas), waits=_oldest(replicas)))
    if maintenance := system["maintenance"]:
        yield _maintenance(maintenance)
    for setting in system["database"]["weakened_settings"]:
        yield _weakened(setting)
    yield from _clocks(replicas)
    yield from _settings(replicas)
    yield from _standbys(replicas)
    if oldest := system["oldest_transaction"]:
        yield from _held_open(oldest)


def _maintenance(maintenance: Maintenance) -> Finding:
    left = (datetime.fromisoformat(maintenance["until_at"]) - datetime.now(UTC)).total_seconds()
    message = Phrase("maintenance: no new tasks are taken for the next {time}", time=duration(max(1.0, left)))
    if reason := line(maintenance["reason"]):
        message = Phrase("{message}: {reason}", message=message, reason=reason)
    return warn("schedulers", message, Phrase("`contentgen maintenance off` has them taken again at once"))


def _weakened(setting: str) -> Finding:
    advice = (
        Phrase("the schedulers' own sessions have it on; reset it for the server, the database and the role")
        if setting == "synchronous_commit"
        else Phrase("a crash of its host may lose or damage acknowledged work: set it on, and reload PostgreSQL")
    )
    return warn("durability", Phrase("PostgreSQL has {setting} off", setting=line(setting)), advice)


def _oldest(replicas: Sequence[Replica]) -> Phrase:
    lanes = [(name, lane) for replica in replicas for name, lane in replica["lanes"].items()]
    name, oldest = max(lanes, key=lambda item: item[1]["oldest_age"], default=("", None))
    if oldest is None or oldest["oldest_age"] < _NOTHING:
        return Phrase("nothing waits")
    return Phrase("the oldest of the {lane} waits for {age}", lane=name, age=_age(oldest))


def versions(system: System | None) -> set[str]:
    """Returns the versions of the replicas that are alive. Returns an empty set if they don't tell."""
    return {replica["version"] for replica in _here(system)} - {""} if system else set()


def _here(system: System) -> list[Replica]:
    """Returns the replicas that have reported lately."""
    return [replica for replica, silence in _silences(system) if silence < _SILENT_AFTER]


def _silences(system: System) -> Iterator[tuple[Replica, float]]:
    """Yields each replica, and for how many seconds it has not reported; the one that answers has just reported."""
    times = [datetime.fromisoformat(entry["last_heartbeat_at"]) for entry in system["replicas"]]
    for replica, time in zip(system["replicas"], times, strict=True):
        yield replica, (max(times) - time).total_seconds()


def _silent(system: System) -> Iterator[Finding]:
    """Reports replicas that fell silent and in whose place no other has started since."""
    starts = [datetime.fromisoformat(entry["started_at"]) for entry in _here(system)]
    for replica, silence in _silences(system):
        if _SILENT_AFTER <= silence < _FORGOTTEN_AFTER:
            later = [start for start in starts if start > datetime.fromisoformat(replica["last_heartbeat_at"])]
            if later:
                starts.remove(later[0])
                continue
            yield warn(
                "schedulers",
                Phrase(
                    "{scheduler} has said nothing for {silence}: it was killed, is frozen, or does not reach the"
                    " database",
                    scheduler=line(replica["scheduler_id"]),
                    silence=duration(silence),
                ),
                Phrase("start it again"),
            )


def _not_serving(replicas: Sequence[Replica]) -> Iterator[Finding]:
    for replica in replicas:
        if not replica["serving"]:
            waiting = [
                Phrase("{lane} for {age}", lane=name, age=_age(lane))
                for name, lane in replica["lanes"].items()
                if lane["waiting"]
            ]
            yield fail(
                "schedulers",
                Phrase(
                    "{scheduler} does not serve; waiting: {lanes}",
                    scheduler=line(replica["scheduler_id"]),
                    lanes=joined(waiting) or Phrase("nothing"),
                ),
                Phrase("look at its log (action stall, lock, store or assets) and at PostgreSQL"),
            )


def _set_aside(replicas: Sequence[Replica]) -> Iterator[Finding]:
    for replica in replicas:
        for name, lane in replica["lanes"].items():
            if lane["set_aside"]:
                yield warn(
                    "schedulers",
                    Phrase(
                        "{n} of the {lane} of {scheduler} wait for a lock, the oldest for {age}",
                        n=lane["set_aside"],
                        lane=name,
                        scheduler=line(replica["scheduler_id"]),
                        age=_age(lane),
                    ),
                    Phrase("it goes on by itself once the lock is free"),
                )


def _holders(holders: Sequence[LockHolder]) -> Iterator[Finding]:
    for holder in holders:
        message = Phrase("{session}, and {held}", session=_session(holder), held=_held(holder))
        yield warn("locks", message, _end_it(holder["pid"], hidden=_is_hidden(holder)))


def _is_hidden(holder: LockHolder) -> bool:
    return not holder["state"] and holder["transaction_age"] is None


def _session(holder: LockHolder) -> Phrase:
    owner = _named(holder["role"], holder["application"], holder["address"])
    session = Phrase("session {pid} ({who})", pid=holder["pid"], who=owner)
    if _is_hidden(holder):
        return Phrase("{session} is in a state that the schedulers' role may not see", session=session)
    state = holder["state"] or Phrase("there")
    if holder["transaction_age"] is None:
        return Phrase("{session} is {state}", session=session, state=state)
    age = duration(holder["transaction_age"])
    return Phrase("{session} is {state}, its transaction open for {age}", session=session, state=state, age=age)


def _named(*parts: str) -> str:
    return ", ".join(line(text) for text in parts if text)


def _end_it(pid: int, *, hidden: bool) -> Phrase:
    end_it = Phrase("let it commit, or end it: SELECT pg_terminate_backend({pid})", pid=pid)
    if not hidden:
        return end_it
    return Phrase("{end_it}; GRANT pg_read_all_stats TO the schedulers' role tells more of it", end_it=end_it)


def _held(holder: LockHolder) -> Phrase:
    tables = line(holder["relation"])
    if holder["waited_for"]:
        phrase = Phrase("holds a lock of {tables} that others wait for", tables=tables)
        return phrase if tables else Phrase("holds a lock that others wait for")
    phrase = Phrase("has locked rows of {tables}, or all", tables=tables)
    return phrase if tables else Phrase("has locked rows, or all")


def _clocks(replicas: Sequence[Replica]) -> Iterator[Finding]:
    for replica in replicas:
        offset = replica["clock_offset"] or 0.0
        if abs(offset) > _CLOCK_TOLERANCE:
            values = {"scheduler": line(replica["scheduler_id"]), "offset": duration(abs(offset))}
            message = Phrase("the clock of {scheduler} is {offset} ahead of the database's", **values)
            if offset < 0:
                message = Phrase("the clock of {scheduler} is {offset} behind the database's", **values)
            level = fail if abs(offset) > _MAX_CLOCK_OFFSET else warn
            yield level("clock", message, Phrase("set the wrong one of the two, by NTP"))


def _settings(replicas: Sequence[Replica]) -> Iterator[Finding]:
    """Reports the settings of which the schedulers that tell them have different values."""
    for name in sorted({name for replica in replicas for name in replica["settings"]}):
        schedulers_by_value: dict[str, list[str]] = {}
        for replica in replicas:
            if name in replica["settings"]:
                schedulers_by_value.setdefault(replica["settings"][name], []).append(replica["scheduler_id"])
        if len(schedulers_by_value) > 1:
            values = [
                Phrase("{value} on {schedulers}", value=line(value) or Phrase("unset"), schedulers=some(names))
                for value, names in sorted(schedulers_by_value.items())
            ]
            yield warn(
                "settings",
                Phrase("{name} differs: {values}", name=line(name), values=joined(values, "; ")),
                Phrase("give all schedulers the same: each works by its own, on what belongs to all"),
            )


_STANDBY_PROBLEMS = {
    "AWAY": Phrase("it does not answer"),
    "LAGS": Phrase("it lags behind the primary"),
    "NOT_STANDBY": Phrase("its server is no standby"),
    "OTHER_DATABASE": Phrase("its server has another database"),
}


def _standbys(replicas: Sequence[Replica]) -> Iterator[Finding]:
    for replica in replicas:
        if problem := replica["standby_problem"]:
            yield warn(
                "standby",
                Phrase(
                    "{scheduler} reads nothing from its standby: {problem}",
                    scheduler=line(replica["scheduler_id"]),
                    problem=_STANDBY_PROBLEMS.get(problem, line(problem)),
                ),
                Phrase("its reads go to the primary meanwhile; look at the standby, and at CONTENTGEN_READ_URL"),
            )


def _held_open(oldest: OldestTransaction) -> Iterator[Finding]:
    hidden = oldest["age"] is None
    age = oldest["seen_for"] if oldest["age"] is None else oldest["age"]
    if age <= _MAX_TRANSACTION_AGE:
        return
    name = line(oldest["application"])
    session = Phrase("session {pid} ({who})", pid=oldest["pid"], who=_named(oldest["role"], oldest["application"]))
    yield warn(
        "snapshots",
        Phrase(
            "{transaction} of database {database} has a transaction open for {age}: watches may wait for it, and"
            " vacuums",
            transaction=session if oldest["pid"] else Phrase("{name}, which is prepared,", name=name),
            database=line(oldest["database"]),
            age=Phrase("{age} at least", age=duration(age)) if hidden else duration(age),
        ),
        _end_it(oldest["pid"], hidden=hidden)
        if oldest["pid"]
        else Phrase("commit it, or roll it back: ROLLBACK PREPARED '{name}'", name=name),
    )


def _age(lane: Lane) -> str:
    return duration(lane["oldest_age"])
