"""hikari under the conformance suite: unmodified, its REST URL given as it documents it.

Every dispatch comes from ``ShardPayloadEvent``; the library does not show sequences. ``GatewayBot`` takes zstd-stream
where that is installed, else zlib-stream; its shards, which are public, also do without and with payload compression.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import bot_lines

ARGUMENTS = bot_lines.arguments()
if ARGUMENTS["compression"] == "zlib-stream":
    # The library's choice where its optional dependency is not installed.
    sys.modules["backports.zstd"] = None  # type: ignore[assignment]

import hikari  # noqa: E402
from hikari.api import GatewayCompression  # noqa: E402
from hikari.impl import GatewayShardImpl  # noqa: E402

SHARD_COMPRESSION = {"none": None, "payload": GatewayCompression.PAYLOAD_ZLIB_STREAM}


class Bot:
    def __init__(self, *, number: int, shards: list[int], count: int, chunk: bool) -> None:
        self._number, self._shards, self._count = number, shards, count
        self._own: dict[int, GatewayShardImpl] = {}
        self._bot = hikari.GatewayBot(
            ARGUMENTS["token"],
            banner=None,
            suppress_optimization_warning=True,
            logs=None,
            intents=hikari.Intents.ALL,
            auto_chunk_members=chunk,
            rest_url=ARGUMENTS["api"],
        )
        self._bot.subscribe(hikari.ShardPayloadEvent, self._payload)
        self._bot.subscribe(hikari.MessageCreateEvent, self._message)
        self._bot.subscribe(hikari.GuildJoinEvent, self._join)
        for parsed in (
            hikari.TypingEvent,
            hikari.ReactionEvent,
            hikari.WebhookUpdateEvent,
            hikari.GuildAvailableEvent,
            hikari.GuildUnavailableEvent,
            hikari.GuildLeaveEvent,
            hikari.PresenceUpdateEvent,
            hikari.VoiceStateUpdateEvent,
            hikari.VoiceServerUpdateEvent,
            hikari.MemberChunkEvent,
        ):
            self._bot.subscribe(parsed, self._parsed)

    async def _payload(self, event: hikari.ShardPayloadEvent) -> None:
        bot_lines.say_dispatch(
            bot=self._number, shard=event.shard.id, name=event.name, sequence=None, data=event.payload
        )

    async def _message(self, event: hikari.MessageCreateEvent) -> None:
        bot_lines.say(bot=self._number, object="message", id=str(event.message_id))

    async def _join(self, event: hikari.GuildJoinEvent) -> None:
        bot_lines.say(bot=self._number, object="join", id=str(event.guild_id))

    async def _parsed(self, event: hikari.Event) -> None:
        """Subscribed so that the library makes its object of it."""

    async def ask_members(self, *, guild: str, nonce: str, query: str, limit: int) -> None:
        shard = {**self._bot.shards, **self._own}[(int(guild) >> 22) % self._count]
        await shard.request_guild_members(int(guild), query=query, limit=limit, nonce=nonce)

    async def live(self) -> None:
        try:
            if ARGUMENTS["compression"] in SHARD_COMPRESSION:
                await self._run_shards()
            else:
                await self._bot.start(shard_ids=self._shards, shard_count=self._count, check_for_updates=False)
                await self._bot.join()
        except (hikari.HikariError, RuntimeError) as ended:
            bot_lines.say(bot=self._number, stopped=repr(ended), code=getattr(ended, "code", None))

    async def _run_shards(self) -> None:
        for shard_id in self._shards:
            self._own[shard_id] = GatewayShardImpl(
                compression=SHARD_COMPRESSION[ARGUMENTS["compression"]],
                intents=hikari.Intents.ALL,
                shard_id=shard_id,
                shard_count=self._count,
                http_settings=self._bot.http_settings,
                proxy_settings=self._bot.proxy_settings,
                event_manager=self._bot.event_manager,
                event_factory=self._bot.event_factory,
                token=ARGUMENTS["token"],
                url=ARGUMENTS["gateway"],
            )
        await asyncio.gather(*(shard.start() for shard in self._own.values()))
        await asyncio.gather(*(shard.join() for shard in self._own.values()))

    async def close(self) -> None:
        for shard in self._own.values():
            if shard.is_alive:
                await shard.close()
        if self._bot.is_alive:
            await self._bot.close()


async def main() -> None:
    bot_lines.report_logs()
    bots = [Bot(number=number, **options) for number, options in enumerate(ARGUMENTS["bots"])]
    lives = [asyncio.create_task(bot.live()) for bot in bots]

    async def ask(command: dict[str, Any]) -> None:
        await bots[command.pop("bot")].ask_members(**command)

    await bot_lines.obey(ask)
    await asyncio.gather(*(bot.close() for bot in bots))
    await asyncio.gather(*lives, return_exceptions=True)


asyncio.run(main())
