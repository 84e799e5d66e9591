"""The form of a webhook: what was typed, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast, get_args

from starlette.datastructures import FormData

from console_svc.web.language import refused, text
from console_svc.web.numbers import number_of
from contentgen import EventType, InvalidArgument, Webhook

EVENT_TYPES: Sequence[EventType] = [it for it in get_args(EventType) if it != "webhook.ping"]


@dataclass(frozen=True, slots=True)
class WebhookForm:
    """`problems`: what is wrong, by the field's name."""

    url: str = ""
    event_types: Sequence[EventType] = ()
    account_text: str = ""
    problems: dict[str, str] = field(default_factory=dict)

    @classmethod
    def typed(cls, form: FormData) -> WebhookForm:
        chosen = [it for it in EVENT_TYPES if it in form.getlist("event_types")]
        typed = cls(str(form.get("url", "")).strip(), chosen, str(form.get("account", "")).strip())
        try:
            number_of(typed.account_text)
        except ValueError:
            typed.problems["account"] = "The number of an account."
        if not chosen:
            typed.problems["event_types"] = text("Choose at least one.")
        return typed

    @classmethod
    def of(cls, webhook: Webhook) -> WebhookForm:
        return cls(webhook["url"], cast("Sequence[EventType]", webhook["event_types"]))

    @property
    def account(self) -> int | None:
        return number_of(self.account_text)

    def refused(self, error: InvalidArgument) -> None:
        """Takes over what the schedulers say of each field."""
        for name, description in error.field_violations:
            known = name.partition("[")[0].removeprefix("webhook.")
            self.problems["account" if known == "account_id" else known] = description
        if not error.field_violations:
            self.problems[""] = refused(error)
