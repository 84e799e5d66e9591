"""The fields of a submit: what each is called, its bounds, what it means, how people write it, and its type in Python.

The client's arguments, the command's options and rows, and the console's forms and sheets follow `FIELDS`. A scheduler
decides by its own bounds; a test compares the two. Layer: below `client`; the console uses it, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import Enum, auto
from types import MappingProxyType
from typing import NamedTuple, TypedDict

_DAY = 86_400.0
_MAX_TIME = 3_650 * _DAY
_MAX_BACKOFF = 30 * _DAY


class Kind(Enum):
    """What a field holds, and so how it is written."""

    ID = auto()  # the number of an account
    TEXT = auto()  # any text
    WORDS = auto()  # texts by comma
    WHOLE = auto()  # a whole number
    NUMBER = auto()  # a number that may have a fraction
    YES_NO = auto()  # `true` or `false`
    LENGTH = auto()  # a length of time such as `90s`, in seconds
    TIME = auto()  # a time of ISO 8601
    PAIRS = auto()  # `key=value`, several times
    CHOICE = auto()  # one of some words


class Field(NamedTuple):
    """A field of SubmitTaskRequest, or of an account.

    Attributes:
        name: that of the message, and the client's argument.
        label: the console's name for it, in English.
        kind: what it holds.
        help: what it means, in a sentence.
        least: the smallest value: of numbers, and of lengths in seconds.
        most: the largest one; of texts: characters.
        default: what holds if it is unset, as people write it; empty: nothing, or what a sentence of help says.
        flags: of the command, if they are not `--name`.
        metavar: what the command's help shows for the value.
        columns: other names of its column in a file.
        in_schedule: whether the task of a schedule may have it.
        changeable: whether it can be changed while the task is pending.
        hint: what forms say beside it, with `{least}` and `{most}` filled in. They add the default themselves.
        example: what forms show in an empty input, if not the default.
        choice: what forms call the field, yes and no, if not its label and these words.
        choices: the words of a choice, with what forms call each.
        zero: what 0 means of a number, in words.
        line: of a form: fields of one line stand side by side. Lines 1 and 2 are shown at once, others on demand.
        brief: whether it is a text of the brief, which says what to write; forms show it at once.
        rows: of the input of such a text in a form. A text with several is shown as it was written.
    """

    name: str
    label: str
    kind: Kind
    help: str
    least: float = 0
    most: float = 0
    default: str = ""
    flags: tuple[str, ...] = ()
    metavar: str = ""
    columns: tuple[str, ...] = ()
    in_schedule: bool = True
    changeable: bool = True
    hint: str = ""
    example: str = ""
    choice: tuple[str, str, str] | None = None
    choices: Mapping[str, str] = MappingProxyType({})
    zero: str = ""
    line: int = 9
    brief: bool = False
    rows: int = 1


FIELDS = (
    Field("account_id", "Account", Kind.ID, "The account.", 1, (1 << 63) - 1,
          columns=("account", "账号", "账号id"), in_schedule=False, changeable=False),
    Field("topic", "Topic", Kind.TEXT, "What to write about.", 1, 4_000,
          columns=("主题", "选题", "标题"), brief=True, rows=2),
    Field("keywords", "Keywords", Kind.WORDS, "Keywords by comma.", 0, 2_000, columns=("关键词", "关键字"),
          brief=True, hint="Several by comma."),
    Field("category", "Category", Kind.TEXT, "Category, kept with the content.", 0, 200,
          columns=("类别", "分类"), brief=True),
    Field("requirements", "Requirements", Kind.TEXT, "What the text must follow.", 0, 20_000,
          columns=("要求",), brief=True, rows=4),
    Field("tone", "Tone", Kind.TEXT, "Tone of the text.", 0, 200, columns=("语气",), brief=True),
    Field("priority", "Priority", Kind.WHOLE, "10 goes first.", 1, 10, default="5",
          flags=("--priority", "-p"), columns=("优先级",), hint="10 goes first.", line=1),
    Field("auto_approve", "Skips the review", Kind.YES_NO, "Whether the content skips the review.", default="yes",
          columns=("免审核",), choice=("Review", "none: it goes to the publish pool", "by an editor"),
          hint="Unless you choose an editor, new articles go to the publish pool without a review.", line=1),
    Field("max_retries", "Retries", Kind.WHOLE, "Retries after failures.", 0, 100, default="3", columns=("重试次数",),
          hint="{least} to {most}.", line=5),
    Field("auto_retry", "Retry by itself", Kind.YES_NO, "Whether failures are retried by themselves.", default="yes",
          columns=("自动重试",), line=5),
    Field("initial_backoff", "First pause", Kind.LENGTH, "How long to wait before the first retry, such as 5s.",
          0.001, _MAX_BACKOFF, default="30s", changeable=False, hint="Before the first retry.", line=6),
    Field("backoff_multiplier", "Growth of pauses", Kind.NUMBER, "By what each further wait is longer.",
          1, 100, default="2", metavar="NUMBER", changeable=False, hint="{least} to {most}.", line=6),
    Field("max_backoff", "Longest pause", Kind.LENGTH, "The longest wait before a retry.",
          0.001, _MAX_BACKOFF, default="10m, or the first one where that is longer", changeable=False, line=6),
    Field("timeout", "Time limit", Kind.LENGTH, "How long one attempt may take, such as 90s or 2h.",
          1, _MAX_TIME, default="30m", columns=("时限",), hint="Of one attempt, such as 90s or 2h.", line=4),
    Field("schedule_time", "Run not before", Kind.TIME, "Not before this time: ISO 8601, or +2h from now.",
          columns=("计划时间",), in_schedule=False, hint="Empty: it runs at once.", line=2),
    Field("expire_time", "Expires", Kind.TIME, "Cancel it if it was not started by then: ISO 8601, or +2h from now.",
          columns=("过期时间",), in_schedule=False, hint="Cancelled if it was not started by then.", line=4),
    Field("request_id", "Request id", Kind.TEXT, "The same id again returns the first task and creates nothing.",
          0, 200, metavar="ID", in_schedule=False, changeable=False),
    Field("unique_key", "Unique key", Kind.TEXT,
          "While a task of the account with this key is open, return that one and create nothing.",
          0, 200, metavar="KEY", columns=("唯一键",), in_schedule=False, changeable=False,
          hint="While a task of the account with this key is open, no second one is made.", line=7),
    Field("unique_for", "Unique for", Kind.LENGTH,
          "With --unique-key: how long after its submit, such as 24h, even if it has ended.",
          0, _MAX_TIME, in_schedule=False, changeable=False,
          hint="How long the key holds even if the task has ended, such as 24h.", line=7),
    Field("labels", "Labels", Kind.PAIRS, "A label; several times.",
          flags=("--label", "-l"), columns=("label", "标签"), hint="key=value, one a line.",
          example="campaign=spring", line=3),
    Field("creator_options", "Creator options", Kind.PAIRS, "An extra option for the CLI.",
          flags=("--creator-option",), columns=("creator_option", "创作选项"), changeable=False,
          hint="key=value, one a line: more options for the creator.", example="model=large", line=3),
    Field("worker_selector", "Labels of the worker", Kind.PAIRS, "A label that its worker must have; several times.",
          flags=("--worker-selector",), columns=("工作节点标签",), changeable=False,
          hint="key=value, one a line: only workers with all of them run it.", example="creator=video", line=3),
)  # fmt: skip
BRIEF = tuple(sorted((field for field in FIELDS if field.brief), key=lambda field: (field.name != "topic", field.rows)))
"""The texts that say what to write, as people read them: the topic, then the short ones before the long one."""
BY_NAME: Mapping[str, Field] = {field.name: field for field in FIELDS}
NAMES: Mapping[str, str] = {name: field.name for field in FIELDS for name in (field.name, *field.columns)}
"""The field of each column."""

# The same fields as arguments of the client, by name. `submit_task` has those of the old application before them, in
# their order. A new field is a key of the first of these classes that says what holds of it.


class LastingFields(TypedDict, total=False):
    """Fields that a submit and a schedule's task give, and that can be changed while the task is pending.

    Attributes:
        max_retries: 0 to 100, and at least those that are used; default 3.
        auto_retry: whether failures are retried by themselves; default True.
        timeout: seconds that one attempt may take; default 30 minutes.
        labels: the caller's own; new ones replace all old ones.
    """

    max_retries: int | None
    auto_retry: bool | None
    timeout: float | None
    labels: Mapping[str, str] | None


class TaskFields(LastingFields, total=False):
    """Fields that a submit gives, and that can be changed while the task is pending.

    Attributes:
        schedule_time: not before; a datetime or ISO 8601, UTC if it names no zone.
        expire_time: cancelled if it was not started by then, with the reason EXPIRED; as `schedule_time`.
    """

    schedule_time: datetime | str | None
    expire_time: datetime | str | None


class FixedFields(TypedDict, total=False):
    """Fields that a submit and a schedule's task give, once and for all.

    Attributes:
        creator_options: extra `--key=value` for the CLI.
        worker_selector: labels that its worker must have.
        initial_backoff: seconds before the first retry; default 30.
        backoff_multiplier: what each further pause is longer by, 1 to 100; default 2.
        max_backoff: seconds of the longest pause; default 10 minutes.
    """

    creator_options: Mapping[str, str] | None
    worker_selector: Mapping[str, str] | None
    initial_backoff: float | None
    backoff_multiplier: float | None
    max_backoff: float | None


class SubmitFields(TaskFields, FixedFields, total=False):
    """Fields that only a submit gives.

    Attributes:
        request_id: the same id again returns the first task. Default: a new one, so that a retried call is safe.
        unique_key: while a task of the account with this key is open, that one's id is returned.
        unique_for: seconds after its submit in which that holds though it has ended; with a `unique_key`.
    """

    request_id: str | None
    unique_key: str | None
    unique_for: float | None


class BriefFields(TypedDict, total=False):
    """Fields that a submit has as arguments of their own.

    Attributes:
        keywords: by comma; empty for none.
        category: stored with the content; empty for none.
        requirements: what the text must follow; empty for none.
        tone: empty for the CLI's own.
        priority: 1 to 10, 10 first.
        auto_approve: whether the content skips the review.
    """

    keywords: str | None
    category: str | None
    requirements: str | None
    tone: str | None
    priority: int | None
    auto_approve: bool | None


class TaskChanges(TaskFields, BriefFields, total=False):
    """Fields of a task that can be changed.

    Attributes:
        topic: what to write about.
    """

    topic: str | None


class ScheduledTask(LastingFields, FixedFields, BriefFields):
    topic: str


class NewTask(SubmitFields, BriefFields):
    """One of several tasks that are submitted together."""

    account_id: int
    topic: str


class Brief(TypedDict):
    """What to write, of a task or of a schedule's template."""

    topic: str
    keywords: str | None
    category: str | None
    requirements: str | None
    """None in lists and events: they leave it out."""
    tone: str | None
