"""Options and arguments that several commands have, among them the fields of a submit. Layer: inside cli."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from typing import Annotated, Any, Literal

from contentgen.cli import completion, values
from contentgen.cli.command import Session
from contentgen.cli.values import argument, option
from contentgen.submit_fields import FIELDS, Field, Kind

TaskId = Annotated[str, argument("TASK_ID", "The task.", autocompletion=completion.task_ids)]
TaskIds = Annotated[list[str], argument("TASK_ID", "One or more tasks.", autocompletion=completion.task_ids)]
ScheduleId = Annotated[int, argument("SCHEDULE_ID", "The schedule.", min=1, autocompletion=completion.schedule_ids)]
ScheduleIds = Annotated[
    list[int], argument("SCHEDULE_ID", "One or more schedules.", min=1, autocompletion=completion.schedule_ids)
]


def account_option(help_: str, *, minimum: int = 1) -> Any:
    """Returns `--account`, an account's id of at least `minimum`."""
    return option(help_, "--account", "-a", min=minimum, metavar="ID", autocompletion=completion.account_ids)


OfAccount = Annotated[int | None, account_option("The account. Default: CONTENTGEN_ACCOUNT, or that of the context.")]
OnlyAccount = Annotated[
    int | None, account_option("Only of this account; 0: of all. Default: CONTENTGEN_ACCOUNT, or of all.", minimum=0)
]
Limit = Annotated[int | None, option("How many at most.", "--limit", "-n", min=1, metavar="N")]
All = Annotated[bool, option("To the end, as JSON is; a table ends after 20 rows.", "--all")]
PageToken = Annotated[str, option("Continue where a list has ended.", metavar="TOKEN")]
Yes = Annotated[bool, option("Do not prompt, not even on a terminal.", "--yes", "-y")]
Statuses = Annotated[
    list[str] | None,
    option(
        "Only in this state; may be given several times, or several by comma: pending, submitted, processing,"
        " completed, failed, timeout, cancelled.",
        metavar="STATUS",
        autocompletion=completion.task_states,
    ),
]


_ANY_NUMBER = (1 << 31) - 1
"""A bound that large is not worth a word."""
_APART = ("account_id", "topic")
"""What each command has in its own way."""
_WRITTEN: Mapping[Kind, tuple[Any, dict[str, Any]]] = {
    Kind.TEXT: (str, {}),
    Kind.WORDS: (str, {}),
    Kind.WHOLE: (int, {}),
    Kind.NUMBER: (float, {}),
    Kind.YES_NO: (bool, {}),
    Kind.LENGTH: (float, {"parser": values.seconds, "metavar": "DURATION"}),
    Kind.TIME: (str, {"parser": values.time, "metavar": "TIME"}),
    Kind.PAIRS: (list[str], {"parser": values.pair, "metavar": "KEY=VALUE"}),
    Kind.CHOICE: (str, {}),
}
"""The type of each kind's option, and what else typer has to know of it."""

SUBMITTED = tuple(field for field in FIELDS if field.name not in _APART)
OF_A_SCHEDULE = tuple(field for field in SUBMITTED if field.in_schedule)
CHANGEABLE = tuple(field for field in FIELDS if field.changeable)
"""Of a pending task."""

Body = Callable[..., int | None]


def stands_for(
    name: str, options: Mapping[str, Any], value_of: Callable[[Session, dict[str, Any]], Any]
) -> Callable[[Body], Body]:
    """The parameter `name` of a command becomes several options.

    Args:
        name: the parameter.
        options: their annotations, by name.
        value_of: makes the parameter's value of theirs, which are None or empty if not given.
    """
    replacement = [
        inspect.Parameter(option, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for option, annotation in options.items()
    ]

    def decorate(body: Body) -> Body:
        @wraps(body)
        def command(session: Session, **arguments: Any) -> int | None:
            values = {option: arguments.pop(option) for option in options}
            return body(session, **arguments, **{name: value_of(session, values)})

        signature = inspect.signature(body, eval_str=True)
        parameters = [
            parameter
            for present in signature.parameters.values()
            for parameter in (replacement if present.name == name else [present])
        ]
        command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined] # see command
        return command

    return decorate


def given_values(_: Session, values: dict[str, Any]) -> dict[str, Any]:
    """Returns the values of the options that were given; of pairs the last one of a key holds."""
    set_values = {name: value for name, value in values.items() if value is not None}
    return {name: dict(value) if isinstance(value, list) else value for name, value in set_values.items()}


def with_options(fields: Iterable[Field], *, defaults: bool = True) -> Callable[[Body], Body]:
    """The parameter `given` of a command becomes an option a field. It gets their values by name, of those given.

    `defaults`: the help says what holds for a field that is not given.
    """
    options = {field.name: Annotated[_type(field) | None, _option(field, defaults=defaults)] for field in fields}
    return stands_for("given", options, given_values)


def _type(field: Field) -> Any:
    return Literal[tuple(field.choices)] if field.choices else _WRITTEN[field.kind][0]


def _option(field: Field, *, defaults: bool) -> Any:
    settings = {**_WRITTEN[field.kind][1]}
    if field.kind in {Kind.WHOLE, Kind.NUMBER}:
        settings |= {"min": field.least, "max": field.most if field.most < _ANY_NUMBER else None}
    if field.metavar:
        settings["metavar"] = field.metavar
    help_ = f"{field.help} Default: {field.default}." if defaults and field.default else field.help
    return option(help_, *field.flags, **settings)
