"""``spec.forward``: where events go, in which form, and what waits while the receiver is away."""

from __future__ import annotations

import enum
import re
import ssl
from typing import Annotated, Final

from pydantic import AfterValidator, ConfigDict, Field

from gateway_operator.api.base import Model, wire_name
from gateway_operator.api.references import SecretKeyRef
from gateway_operator.api.rules import one_of_schemes, rule, scheme_rule, with_rules

_EVENT_NAME: Final = re.compile(r"[A-Z][A-Z0-9_]*")


def _event_name(name: str) -> str:
    if not _EVENT_NAME.fullmatch(name):
        raise ValueError(f'"{name}" is not the name of a dispatch; write it as Discord does, such as MESSAGE_CREATE.')
    return name


_PEM_BLOCK: Final = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----")
_CERTIFICATE: Final = "-----BEGIN CERTIFICATE-----"


def _certificates(pem: str) -> str:
    """*pem* if it is what verification can use; the value is not repeated in the sentence."""
    others = set(_PEM_BLOCK.findall(pem)) - {"CERTIFICATE"}
    if others:
        raise ValueError(f"holds a block {sorted(others)[0]}; write certificates only, without any key.")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=pem)
    except (ssl.SSLError, ValueError):
        raise ValueError(f"is no PEM certificate; write one or more, each beginning with {_CERTIFICATE}.") from None
    return pem


EventName = Annotated[
    str,
    Field(
        min_length=1,
        max_length=64,
        json_schema_extra=with_rules(
            rule(
                f"self.matches('^{_EVENT_NAME.pattern}$')",
                says="'\"' + self + '\" is not the name of a dispatch; "
                "write it as Discord does, such as MESSAGE_CREATE'",
            )
        ),
    ),
    AfterValidator(_event_name),
]


class Format(enum.StrEnum):
    BATCH = "batch"
    SINGLE = "single"


class Ordering(enum.StrEnum):
    SHARD = "shard"
    GUILD = "guild"


class Overflow(enum.StrEnum):
    DROP_OLDEST = "DropOldest"
    DROP_NEWEST = "DropNewest"
    PAUSE = "Pause"


class EventNames(Model):
    """Which dispatches are delivered, by Discord's names."""

    include: list[EventName] = Field(
        default=[], max_length=128, description="Only these dispatches are delivered; empty: all."
    )
    exclude: list[EventName] = Field(
        default=[], max_length=128, description="These dispatches are not delivered, also when they are included."
    )


class Queue(Model):
    """Bounds of what waits for the receiver, for each pod."""

    max_events: int = Field(default=1_000_000, ge=1, le=1_000_000_000, description="How many events may wait.")
    max_bytes: int = Field(default=1 << 30, ge=1 << 20, le=1 << 50, description="How many bytes of payload may wait.")
    max_age_seconds: float | None = Field(
        default=None,
        gt=0,
        le=31_536_000,
        description="Events that waited longer are dropped and counted; absent: none.",
    )
    overflow: Overflow = Field(
        default=Overflow.DROP_OLDEST,
        description="What happens to an event past a bound: DropOldest, DropNewest, or Pause (reading stops).",
    )


class Forward(Model):
    """How events reach the bot."""

    model_config = ConfigDict(
        alias_generator=wire_name,
        json_schema_extra=with_rules(
            scheme_rule("url", "http", "https"),
            rule(
                f"!has(self.caBundle) || (self.caBundle.contains('{_CERTIFICATE}') "
                "&& !self.caBundle.contains('PRIVATE KEY-----'))",
                f"caBundle must be PEM certificates (each beginning with {_CERTIFICATE}), without any key",
                path=".caBundle",
            ),
        ),
    )

    url: Annotated[str, AfterValidator(one_of_schemes("http", "https"))] = Field(
        min_length=1, max_length=2048, description="The receiver: every batch of events is POSTed here."
    )
    ca_bundle: Annotated[str, Field(max_length=1 << 16), AfterValidator(_certificates)] | None = Field(
        default=None,
        description="PEM certificates of the authorities that may vouch for the receiver, in place of the system's.",
    )
    format: Format = Field(
        default=Format.BATCH,
        description="batch: a JSON array of {shard, session, payload}; single: one untouched payload per request.",
    )
    signing_secret_ref: SecretKeyRef | None = Field(
        default=None, description="Secret key that signs requests as Standard Webhooks says; absent: not signed."
    )
    timeout_seconds: float = Field(
        default=10, ge=0.1, le=300, description="How long a request may take before it is tried again."
    )
    max_batch_events: int = Field(default=256, ge=1, le=10_000, description="Most events in one batch.")
    max_batch_bytes: int = Field(
        default=4 << 20, ge=1 << 12, le=64 << 20, description="Most bytes in one batch; one event alone may be larger."
    )
    max_delay_milliseconds: float = Field(
        default=4,
        ge=0,
        le=1000,
        description="How long an event waits at most for others to share its request, where many come; "
        "0: never, at more CPU.",
    )
    lanes: int = Field(default=4, ge=1, le=64, description="Ordered lanes per worker; each has one request in flight.")
    ordering: Ordering = Field(
        default=Ordering.SHARD, description="What keeps its order: shard (a shard uses one lane) or guild."
    )
    events: EventNames = Field(default_factory=EventNames, description="Which dispatches are delivered.")
    queue: Queue = Field(default_factory=Queue, description="Bounds of what waits for the receiver, for each pod.")
