"""discord.py under the conformance suite: unmodified, pointed at the simulator by its own class attributes.

Every payload comes from ``on_socket_raw_receive``, the library's event for what it received; it carries no shard, which
follows from the guild as Discord documents it, or, for RESUMED, from ``on_shard_resumed``.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import bot_lines

ARGUMENTS = bot_lines.arguments()
if ARGUMENTS["compression"] == "zlib-stream":
    # The library's choice where its optional dependency is not installed.
    sys.modules["zstandard"] = None  # type: ignore[assignment]

import discord  # noqa: E402
import yarl  # noqa: E402
from discord.gateway import DiscordWebSocket  # noqa: E402
from discord.http import Route  # noqa: E402

Route.BASE = ARGUMENTS["api"]
DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(ARGUMENTS["gateway"])


class Bot(discord.AutoShardedClient):
    def __init__(self, *, number: int, shards: list[int], count: int, chunk: bool) -> None:
        super().__init__(
            intents=discord.Intents.all(),
            shard_ids=shards,
            shard_count=count,
            chunk_guilds_at_startup=chunk,
            enable_debug_events=True,
            heartbeat_timeout=ARGUMENTS["zombieSeconds"],
        )
        self._number = number
        self._resumed: dict[str, Any] | None = None

    async def before_identify_hook(self, shard_id: int | None, *, initial: bool = False) -> None:
        """Documented for those who keep the identify limit elsewhere; the simulator's buckets are wide here."""

    async def on_socket_raw_receive(self, message: str) -> None:
        payload = json.loads(message)
        if payload["op"] != 0:
            return
        if payload["t"] == "RESUMED":
            self._resumed = payload
            return
        self._report(payload, self._shard_of(payload["t"], payload["d"]))

    async def on_shard_resumed(self, shard_id: int) -> None:
        if self._resumed is not None:
            self._report(self._resumed, shard_id)
            self._resumed = None

    def _shard_of(self, name: str, data: dict[str, Any]) -> int:
        if name == "READY":
            return int(data["shard"][0])
        guild = data.get("guild_id") or (data["id"] if name in ("GUILD_CREATE", "GUILD_UPDATE", "GUILD_DELETE") else 0)
        return (int(guild) >> 22) % (self.shard_count or 1)

    def _report(self, payload: dict[str, Any], shard: int) -> None:
        bot_lines.say_dispatch(
            bot=self._number, shard=shard, name=payload["t"], sequence=payload["s"], data=payload["d"]
        )

    async def on_message(self, message: discord.Message) -> None:
        bot_lines.say(bot=self._number, object="message", id=str(message.id))

    async def on_guild_join(self, guild: discord.Guild) -> None:
        bot_lines.say(bot=self._number, object="join", id=str(guild.id))

    async def ask_members(self, *, guild: str, nonce: str, query: str, limit: int) -> None:
        del nonce  # the library makes its own
        found = self.get_guild(int(guild))
        if found is None:
            raise LookupError(guild)
        if limit:
            members = await found.query_members(query=query, limit=limit, cache=False)
        else:
            members = await found.chunk(cache=False)
        bot_lines.say(bot=self._number, object="members", id=guild, count=len(members))

    async def live(self) -> None:
        try:
            await self.start(ARGUMENTS["token"])
        except (discord.DiscordException, OSError) as ended:
            bot_lines.say(bot=self._number, stopped=repr(ended), code=getattr(ended, "code", None))


async def main() -> None:
    bot_lines.report_logs()
    bots = [Bot(number=number, **options) for number, options in enumerate(ARGUMENTS["bots"])]
    lives = [asyncio.create_task(bot.live()) for bot in bots]

    async def ask(command: dict[str, Any]) -> None:
        await bots[command.pop("bot")].ask_members(**command)

    await bot_lines.obey(ask)
    await asyncio.gather(*(bot.close() for bot in bots))
    await asyncio.gather(*lives)


asyncio.run(main())
