"""How each kind of CLI is driven: one module a profile (`CREATOR_PROFILE`), behind the interface of `base`."""

from __future__ import annotations

from collections.abc import Mapping

from worker_svc.creators.base import Creator
from worker_svc.creators.json_sync import JsonSync
from worker_svc.creators.llm_content_creator import LlmContentCreator
from worker_svc.creators.reference import Reference

PROFILES: Mapping[str, type[Creator]] = {
    "reference": Reference,
    "json": JsonSync,
    "llm-content-creator": LlmContentCreator,
}
