"""The settings that are valid each by itself, for a check that goes on past those that are not.

Part of `scheduler_svc.config`.
"""

from __future__ import annotations

from typing import Any

from pydantic import ValidationInfo, ValidatorFunctionWrapHandler, field_validator, model_validator

from scheduler_svc.config.settings import Settings


class ValidSettings(Settings):
    """Settings where an invalid value counts as its default. Not to serve with."""

    @field_validator("*", mode="wrap")
    @classmethod
    def _or_default(cls, value: Any, validate: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
        try:
            return validate(value)
        except ValueError:
            return Settings.model_fields[str(info.field_name)].default

    @model_validator(mode="after")
    def _fit_together(self) -> ValidSettings:
        return self
