"""How each kind of CLI is driven: one module a profile (`CREATOR_PROFILE`), behind the interface of `base`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from worker_svc.creators.base import Creator, CreatorSettings
from worker_svc.creators.json_sync import JsonSync
from worker_svc.creators.llm_content_creator import LlmContentCreator
from worker_svc.creators.reference import Reference

PROFILES: Mapping[str, Callable[[CreatorSettings], Creator]] = {
    "reference": Reference,
    "json": JsonSync,
    "llm-content-creator": LlmContentCreator,
}


def load(profile: str, settings: CreatorSettings) -> Creator:
    """Returns the creator of a profile, one of those that settings let pass, for any number of concurrent runs."""
    return PROFILES[profile](settings)
