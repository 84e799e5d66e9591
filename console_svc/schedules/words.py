"""A cron line in words, English or Chinese."""

from __future__ import annotations

import re
from calendar import day_name, month_name
from functools import lru_cache

from cron_descriptor import ExpressionDescriptor, Options
from cron_descriptor.Exception import FormatError, MissingFieldError, WrongArgumentError

from console_svc.web.language import ZH, Texts

MAX_CRON = 200
_FIELDS = 5
_NAMES = re.compile("|".join([*day_name, *month_name[1:]]))
_HAN = r"[\u4e00-\u9fff]"
_GAPS = re.compile(rf"(?<={_HAN}) +(?={_HAN})")
_NTH = re.compile(r"，在(第.个|最后一个)(星期.)每月")


@lru_cache(maxsize=1_000)
def in_words(line: str, language: str) -> str:
    """Empty for what is no cron line, and for one that nobody can put into words."""
    if len(line) > MAX_CRON or len(line.split()) != _FIELDS:
        return ""
    options = Options(use_24hour_time_format=True, locale_code="zh_CN" if language == ZH else "en_US")
    try:
        words = ExpressionDescriptor(line.upper(), options).get_full_description()
    except (FormatError, MissingFieldError, WrongArgumentError, ValueError, IndexError, KeyError):
        return ""
    return _tidy(words) if language == ZH else words


def _tidy(words: str) -> str:
    """Its Chinese leaves the names of days and months in English, and has the gaps and commas of English."""
    texts = Texts(ZH)
    named = _NAMES.sub(lambda name: texts(name[0]), words).replace(", ", "，").strip()
    return _NTH.sub(r"，每月\1\2", _GAPS.sub("", named))
