"""What the catalogue is made of: good requests with the shape of their answer, bad ones with how they are refused.

Each file that tests RPCs has their rows, as `GOOD` and `BAD`; `catalogue` collects them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field
from typing import Any

from grpc import StatusCode

from contentgen.rpcs import METHODS
from contentgen.submit_fields import BRIEF
from tests.api.world import FUTURE, Fields, World

NOTHING = "9007199254740993"
"""The id of no account, content, schedule, webhook or delivery."""
NO_TASK = "task-0000000000000001"
WAITS = "TASK_STATUS_PENDING"


@dataclass(frozen=True, slots=True)
class The:
    """Stands for a field of what `World.make` makes; within a case, the same name is the same thing."""

    what: str
    field: str


def of(**made: str) -> dict[str, The]:
    """The field of a request that names what `World.make` makes: `content_id` of `content="approved"`."""
    return {f"{kind}_id": The(what, f"{kind}_id") for kind, what in made.items()}


OWN = The("own", "account_id")
OTHER_PAGE = {"page_token": The("page_of_tasks", "next_page_token")}
"""A token of a list of tasks."""
SUBMIT = {"account_id": OWN, "topic": "a topic"}
FULL_SUBMIT = {
    **SUBMIT,
    **{field.name: f"{field.name}, 未来" for field in BRIEF},
    "priority": 10,
    "auto_approve": False,
    "max_retries": 100,
    "auto_retry": False,
    "timeout": "1s",
    "schedule_time": FUTURE,
    "request_id": "once",
    "labels": {"k" * 63: "v" * 255, "empty": ""},
    "creator_options": {"length": "800"},
    "initial_backoff": "0.250s",
    "backoff_multiplier": 1.5,
    "max_backoff": "2592000s",
    "expire_time": "2999-01-02T00:00:00Z",
    "unique_key": "only one",
    "unique_for": "86400s",
}
"""A submit with every field."""


def a_task_id(text: Any) -> bool:
    """`task-` and at least 12 hex digits."""
    digits = str(text).removeprefix("task-")
    return digits != text and len(digits) >= 12 and int(digits, 16) > 0


def an_opaque_token(text: Any) -> bool:
    return isinstance(text, str) and len(text) > 0


@dataclass(frozen=True, slots=True)
class Case:
    """A request to an RPC, by its name as `SubmitTask`."""

    rpc: str
    request: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Good(Case):
    """A request that succeeds.

    `shape` is the answer: at the top it has every field, further down those that are looked at; a type or a function
    stands for what it accepts. `polled`: a worker is asked, and answers. `sometimes`: a field that the answer may have,
    too.
    """

    shape: Mapping[str, Any]
    polled: bool = False
    sometimes: str = ""


@dataclass(frozen=True, slots=True)
class Bad(Case):
    """A request that is refused: with this status and reason, naming these fields, with this metadata."""

    code: StatusCode = StatusCode.INVALID_ARGUMENT
    reason: str = "INVALID_ARGUMENT"
    fields: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)


def missing(rpc: str, request: Mapping[str, Any], resource_type: str, resource_id: str = NOTHING) -> Bad:
    metadata = {"resource_type": resource_type, "resource_id": resource_id}
    return Bad(rpc, request, StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND", metadata=metadata)


def taking(field: str) -> Set[str]:
    """The RPCs whose requests have a field of this name."""
    return {method.name for method in METHODS.values() if field in method.input_type.fields_by_name}


def wrong_state(rpc: str, request: Mapping[str, Any], current: str, required: str) -> Bad:
    metadata = {"current_state": current, "required_state": required}
    return Bad(rpc, request, StatusCode.FAILED_PRECONDITION, "INVALID_STATE", metadata=metadata)


def name_of(case: Good | Bad) -> str:
    """A case's name in pytest's output."""
    return f"{case.rpc}-{case.reason if isinstance(case, Bad) else 'good'}"


async def resolved(world: World, *values: Any) -> list[Any]:
    """The values with everything made that they name."""
    objects: dict[str, Fields] = {}

    async def resolve(value: Any) -> Any:
        match value:
            case The(what, name):
                if what not in objects:
                    objects[what] = await world.make(what)
                return objects[what][name]
            case Mapping():
                return {key: await resolve(item) for key, item in value.items()}
            case list():
                return [await resolve(item) for item in value]
            case _:
                return value

    return [await resolve(value) for value in values]


def differences(shape: Any, value: Any, path: str = "") -> list[str]:
    """Where `value` is not of this shape, in words."""
    match shape:
        case Mapping() if isinstance(value, Mapping):
            missing = [f"{path}{key} is missing" for key in shape if key not in value]
            return missing + [
                text for key in shape if key in value for text in differences(shape[key], value[key], f"{path}{key}.")
            ]
        case list() if isinstance(value, list) and len(value) == len(shape):
            return [
                text
                for i, (wanted, item) in enumerate(zip(shape, value, strict=True))
                for text in differences(wanted, item, f"{path}{i}.")
            ]
        case type():
            accepted = isinstance(value, shape)
        case Callable():
            accepted = bool(shape(value))
        case _:
            accepted = bool(shape == value)
    return [] if accepted else [f"{path.rstrip('.')}: {value!r} instead of {shape!r}"]
