"""``python -m discord_simulator``: a Discord gateway on a local port."""

from __future__ import annotations

import argparse
import asyncio
import signal
from dataclasses import fields

import msgspec

from discord_simulator.server import run_server
from discord_simulator.settings import Settings


def _parser() -> argparse.ArgumentParser:
    defaults = Settings()
    parser = argparse.ArgumentParser(
        prog="python -m discord_simulator",
        description="A Discord gateway for tests: REST bootstrap, websocket and a control API on one port.",
    )
    parser.add_argument("--port", type=int, required=True, help="port to listen on; 0 picks a free one and prints it")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument(
        "--token", default=defaults.token, help="the only bot token that is accepted (default: %(default)s)"
    )
    parser.add_argument(
        "--guilds", type=int, default=defaults.guilds, help="guilds at the start (default: %(default)s)"
    )
    parser.add_argument("--max-concurrency", type=int, default=defaults.max_concurrency, help="identify buckets")
    parser.add_argument("--identify-limit", type=int, default=defaults.identify_total, help="session starts a day")
    parser.add_argument("--shards", type=int, help="recommended shard count (default: one per 1000 guilds)")
    parser.add_argument("--shard-multiple", type=int, default=1, help="only multiples of it are legal shard counts")
    parser.add_argument("--seed", type=int, default=0, help="of every random choice (default: %(default)s)")
    parser.add_argument(
        "--heartbeat-interval",
        type=int,
        default=defaults.heartbeat_interval_milliseconds,
        metavar="MILLISECONDS",
        help="sent in HELLO (default: %(default)s)",
    )
    parser.add_argument("--replay-events", type=int, help="replay buffer of a session (default: Discord's formula)")
    parser.add_argument(
        "--session-expiry",
        type=float,
        default=defaults.session_expiry_seconds,
        metavar="SECONDS",
        help="how long a session outlives its connection (default: %(default)s)",
    )
    parser.add_argument(
        "--guild-bytes", type=int, default=defaults.guild_bytes, help="size of a GUILD_CREATE (default: %(default)s)"
    )
    parser.add_argument(
        "--message-bytes",
        type=int,
        default=defaults.message_bytes,
        help="size of a MESSAGE_CREATE (default: %(default)s)",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        dest="others",
        help="any other setting of discord_simulator/settings.py, its value as JSON: --set shuffle_keys=true",
    )
    return parser


def _settings(arguments: argparse.Namespace) -> Settings:
    """Raises ``ValueError`` with a sentence for a ``--set`` that does not fit."""
    values: dict[str, object] = {
        "token": arguments.token,
        "guilds": arguments.guilds,
        "max_concurrency": arguments.max_concurrency,
        "identify_total": arguments.identify_limit,
        "recommended_shards": arguments.shards,
        "shard_multiple": arguments.shard_multiple,
        "heartbeat_interval_milliseconds": arguments.heartbeat_interval,
        "replay_events": arguments.replay_events,
        "session_expiry_seconds": arguments.session_expiry,
        "guild_bytes": arguments.guild_bytes,
        "message_bytes": arguments.message_bytes,
    }
    known = {field.name for field in fields(Settings)}
    for setting in arguments.others:
        name, _, value = setting.partition("=")
        if name not in known:
            raise ValueError(f'--set {setting}: "{name}" is not a setting; there are {", ".join(sorted(known))}')
        try:
            values[name] = msgspec.json.decode(value)
        except msgspec.DecodeError as problem:
            raise ValueError(f'--set {setting}: "{value}" is not JSON: {problem}') from None
    try:
        return msgspec.convert(values, Settings)
    except msgspec.ValidationError as problem:
        raise ValueError(f"--set: {problem}") from None


async def _run(arguments: argparse.Namespace, settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with run_server(settings=settings, host=arguments.host, port=arguments.port, seed=arguments.seed) as (
        _,
        port,
    ):
        print(f"discord_simulator listens on http://{arguments.host}:{port}/api/v10", flush=True)
        await stop.wait()


def settings_of(command_line: list[str]) -> Settings:
    """The settings that *command_line* asks for. Raises ``ValueError`` with a sentence for a wrong ``--set``."""
    return _settings(_parser().parse_args(command_line))


def main() -> None:
    parser = _parser()
    arguments = parser.parse_args()
    try:
        settings = _settings(arguments)
    except ValueError as problem:
        parser.error(str(problem))
    asyncio.run(_run(arguments, settings))


if __name__ == "__main__":
    main()
