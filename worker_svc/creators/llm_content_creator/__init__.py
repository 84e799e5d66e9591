"""The `llm-content-creator` profile: how the npm package of that name is driven, what it prints and stores.

Layer: a profile of `creators`. `profile` is above `stdout` and `database`.
"""

from worker_svc.creators.llm_content_creator.profile import LlmContentCreator

__all__ = ["LlmContentCreator"]
