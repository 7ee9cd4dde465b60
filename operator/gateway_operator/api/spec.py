"""``spec``: what a person asks for."""

from __future__ import annotations

import enum
import re
from typing import Annotated, Final, Self

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from gateway_operator.api.base import Model, wire_name
from gateway_operator.api.forward import Forward
from gateway_operator.api.intents import INTENTS, did_you_mean
from gateway_operator.api.references import ConfigMapKeyRef, TokenSecretRef
from gateway_operator.api.rules import one_of_schemes, rule, scheme_rule, with_rules
from gateway_operator.api.template import Free, Template

DISCORD_API: Final = "https://discord.com/api/v10"
MOST_SHARDS: Final = 16_384


def _intent(name: str) -> str:
    if name not in INTENTS:
        raise ValueError(f'"{name}" is not a Discord intent{did_you_mean(name, INTENTS)}')
    return name


Intent = Annotated[
    str,
    Field(
        max_length=64,
        json_schema_extra=with_rules(
            rule(
                "self in [" + ", ".join(f"'{name}'" for name in INTENTS) + "]",
                says="'\"' + self + '\" is not a Discord intent; write one of " + ", ".join(INTENTS) + "'",
            )
        ),
    ),
    AfterValidator(_intent),
]


class Compression(enum.StrEnum):
    NONE = "none"
    PAYLOAD = "payload"
    ZLIB_STREAM = "zlib-stream"
    ZSTD_STREAM = "zstd-stream"


class Properties(Model):
    """What IDENTIFY says of the client."""

    os: str = Field(default="linux", max_length=64, description="Operating system.")
    browser: str = Field(default="discord-gateway-operator", max_length=64, description="Name of the library.")
    device: str = Field(default="discord-gateway-operator", max_length=64, description="Name of the library.")


class Identify(Model):
    """What sessions are started with."""

    model_config = ConfigDict(
        alias_generator=wire_name,
        json_schema_extra=with_rules(scheme_rule("gateURL", "http", "https", optional=True)),
    )

    properties: Properties = Field(default_factory=Properties, description="What IDENTIFY says of the client.")
    large_threshold: int | None = Field(
        default=None, ge=50, le=250, description="Members above which a guild is sent without its offline members."
    )
    presence: Free | None = Field(
        default=None,
        description="Discord's presence object, a part of IDENTIFY. A changed one is for sessions started after "
        "their pod has restarted, or by a new generation; to a session that lives, send a command (op 3).",
    )
    capabilities: int | None = Field(default=None, ge=0, le=2**53 - 1, description="Discord's capability bits.")
    gate_url: Annotated[str, AfterValidator(one_of_schemes("http", "https"))] | None = Field(
        default=None,
        max_length=2048,
        description="URL of the operator whose identify gate gives this gateway's permits, where one bot's shards lie "
        "in several clusters. It has a gateway of the same bot, with the same token and without a gateURL.",
    )


class Shards(Model):
    """How many sessions, and how they lie over workers and pods."""

    model_config = ConfigDict(
        alias_generator=wire_name,
        json_schema_extra=with_rules(
            rule(
                "!has(self.last) || self.last >= self.first",
                "shards.last must not be below shards.first",
                path=".last",
            ),
            rule(
                "(self.first == 0 && !has(self.last)) || self.count > 0",
                "a part of the shards needs shards.count to be written out, the same for all parts",
                path=".count",
            ),
            rule(
                "self.count == 0 || (self.first < self.count && (!has(self.last) || self.last < self.count))",
                "shards.first and shards.last must be below shards.count; shard ids start at 0",
                path=".first",
            ),
        ),
    )

    count: int = Field(
        default=0,
        ge=0,
        le=MOST_SHARDS,
        description="Number of shards; 0: Discord's recommendation, resolved once per generation.",
    )
    first: int = Field(
        default=0,
        ge=0,
        lt=MOST_SHARDS,
        description="Id of the first shard held here. A bot's parts share one identify gate: they are looked after by "
        "one operator, or name it in identify.gateURL.",
    )
    last: int | None = Field(
        default=None, ge=0, lt=MOST_SHARDS, description="Id of the last shard held here; absent: all."
    )
    per_worker: int = Field(default=25, ge=1, le=250, description="Shards in one worker process.")
    workers_per_pod: int = Field(default=4, ge=1, le=64, description="Worker processes in one pod.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        last = self.last if self.last is not None else self.first
        if last < self.first:
            raise ValueError(f"last ({last}) must not be below first ({self.first}).")
        if self.count == 0 and (self.first > 0 or self.last is not None):
            raise ValueError("a part of the shards needs count to be written out, the same for all parts.")
        if self.count > 0 and max(self.first, last) >= self.count:
            raise ValueError(f"first and last must be below count ({self.count}); shard ids start at 0.")
        return self


class Reshard(Model):
    """When and how a new generation takes over."""

    auto: bool = Field(
        default=True,
        description="Reshard as the bot grows. Set to false before the cutover, it aborts an automatic reshard; done, "
        "its count stands until another spec.shards.count is written.",
    )
    at_percent: int = Field(default=80, ge=1, le=100, description="Utilisation at which an automatic reshard begins.")
    guilds_per_shard: int = Field(
        default=2500, ge=1, le=2500, description="Guilds that a shard is meant to hold; Discord's limit is 2500."
    )
    max_shards: int | None = Field(
        default=None, ge=1, le=MOST_SHARDS, description="Most shards that an automatic reshard may ask for."
    )
    cooldown_seconds: int = Field(
        default=3600, ge=0, le=2_592_000, description="Least time from any reshard to an automatic one."
    )
    identify_reserve: int = Field(
        default=100, ge=0, le=100_000, description="Session starts that a reshard must leave for recovery."
    )
    request_id: str = Field(
        default="", max_length=64, description="A new value asks for a reshard, even to the same count."
    )
    stall_seconds: int = Field(
        default=300, ge=5, le=86_400, description="Time without progress after which a new generation is given up."
    )
    overlap_seconds: float = Field(
        default=10, ge=4, le=120, description="How long both generations record the same events before the cutover."
    )
    auto_promote: bool = Field(
        default=True,
        description="Cut over as soon as it is safe. While false, a new generation is made ready and waits for true.",
    )


class Handlers(Model):
    """Python that replaces handlers of the pods."""

    config_map_ref: ConfigMapKeyRef = Field(description="Where the source is.")


QUANTITY: Final = re.compile("^[1-9][0-9]*(Ki|Mi|Gi|Ti|Pi|k|M|G|T|P)$")


def _quantity(text: str) -> str:
    if not QUANTITY.match(text):
        raise ValueError(f'"{text}" is not a size; write a number with a unit, such as 10Gi.')
    return text


class Storage(Model):
    """A volume for each pod."""

    model_config = ConfigDict(
        alias_generator=wire_name,
        json_schema_extra=with_rules(
            rule(
                f"self.size.matches('{QUANTITY.pattern}')",
                "storage.size must be a number with a unit, such as 10Gi",
                path=".size",
            )
        ),
    )

    size: Annotated[str, AfterValidator(_quantity)] = Field(
        min_length=1, max_length=32, description="Size of the volume, such as 10Gi; the queue fills at most 80 % of it."
    )
    storage_class_name: str | None = Field(default=None, max_length=253, description="Name of a StorageClass.")


class Spec(Model):
    """What a person asks for."""

    model_config = ConfigDict(
        alias_generator=wire_name,
        json_schema_extra=with_rules(
            scheme_rule("apiURL", "http", "https"),
            scheme_rule("gatewayURL", "ws", "wss", optional=True),
        ),
    )

    token_secret_ref: TokenSecretRef = Field(description="The Secret that holds the bot token.")
    api_url: Annotated[str, AfterValidator(one_of_schemes("http", "https"))] = Field(
        default=DISCORD_API,
        min_length=1,
        max_length=2048,
        description="Discord's HTTP API; another one for a proxy or the simulator.",
    )
    gateway_url: Annotated[str, Field(max_length=2048), AfterValidator(one_of_schemes("ws", "wss"))] | None = Field(
        default=None, description="Websocket URL that replaces the one the API returns."
    )
    intents: list[Intent] = Field(
        max_length=32,
        json_schema_extra={"x-kubernetes-list-type": "set"},
        description="Discord's intents by name, such as GUILDS. Privileged ones must be enabled for the application.",
    )
    compression: Compression = Field(
        default=Compression.ZSTD_STREAM, description="none, payload, zlib-stream or zstd-stream."
    )
    identify: Identify = Field(default_factory=Identify, description="What sessions are started with.")
    shards: Shards = Field(
        default_factory=Shards, description="How many sessions, and how they lie over workers and pods."
    )
    forward: Forward = Field(description="How events reach the bot.")
    reshard: Reshard = Field(default_factory=Reshard, description="When and how a new generation takes over.")
    handlers: Handlers | None = Field(
        default=None,
        description="Python that replaces handlers of the pods, see docs/handlers.md; a changed one rolls them.",
    )
    storage: Storage | None = Field(default=None, description="A volume for each pod; absent: emptyDir.")
    template: Template = Field(default_factory=Template, description="What the pods look like.")
    paused: bool = Field(
        default=False,
        description="While true no generation, rollout or reshard is started; sessions and delivery go on.",
    )
