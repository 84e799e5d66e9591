"""When a schedule runs: its cron line in words, English or Chinese, and its next runs."""

from __future__ import annotations

import re
from calendar import day_name, month_name
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from cron_descriptor import ExpressionDescriptor, Options
from cron_descriptor.Exception import FormatError, MissingFieldError, WrongArgumentError

from console_svc.web.language import ZH, Texts
from console_svc.web.zones import UTC_ZONE, in_zone, zone_named
from contentgen import Schedule

MAX_CRON = 200
_FIELDS = 5
_NAMES = re.compile("|".join([*day_name, *month_name[1:]]))
_HAN = r"[\u4e00-\u9fff]"
_GAPS = re.compile(rf"(?<={_HAN}) +(?={_HAN})")
_NTH = re.compile(r"，在(第.个|最后一个)(星期.)每月")


@lru_cache(maxsize=1_000)
def in_words(line: str, language: str) -> str:
    """Describes a cron line; empty for what is no cron line, and for one that nobody can put into words."""
    if len(line) > MAX_CRON or len(line.split()) != _FIELDS:
        return ""
    options = Options(use_24hour_time_format=True, locale_code="zh_CN" if language == ZH else "en_US")
    try:
        words = ExpressionDescriptor(line.upper(), options).get_full_description()
    except (FormatError, MissingFieldError, WrongArgumentError, ValueError, IndexError, KeyError):
        return ""
    return _tidy(words) if language == ZH else words


def _tidy(words: str) -> str:
    """Corrects the Chinese of the library, which has English names of days and months, gaps and commas."""
    texts = Texts(ZH)
    translation = _NAMES.sub(lambda name: texts(name[0]), words).replace(", ", "，").strip()
    return _NTH.sub(r"，每月\1\2", _GAPS.sub("", translation))


@dataclass(frozen=True, slots=True)
class ScheduleRuns:
    """A schedule, its cron line in words, and its next runs by the clocks of its zone."""

    schedule: Schedule
    words: str
    next_runs: Sequence[datetime]


def runs_of(schedule: Schedule, language: str) -> ScheduleRuns:
    return ScheduleRuns(
        schedule, in_words(schedule["cron"], language), local_times(schedule["next_runs_at"], schedule["time_zone"])
    )


def local_times(times: Sequence[str], zone: str) -> Sequence[datetime]:
    """Returns times in a zone that the schedulers know; in UTC if this machine does not know it."""
    return [in_zone(text, zone_named(zone) or UTC_ZONE) for text in times]
