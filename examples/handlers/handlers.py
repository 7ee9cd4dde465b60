"""An example of every handler of a pod. Each one alone is enough; leave out what you do not need.

`context` says where the handler runs, and has `log` and `state`; `default` is what the gateway does without the
handler.
"""

import asyncio
import json
import time

import msgspec

from gateway_hooks import HookUseError

QUIET_HOURS = range(2, 5)
DROPPED = {"TYPING_START"}


async def start_gateway(context, default):
    """Once, before the first shard of a worker starts: prepare what the other handlers need."""
    context.state.seen = 0
    context.state.last_beat = {}
    await default()


async def spawn_shards(context, default, shards):
    """Which shards start when: here the worker's last one first, and a moment between two groups."""
    for start in range(len(shards), 0, -8):
        await default(shards[max(0, start - 8) : start])
        await asyncio.sleep(0.1)


async def create_shard(context, default, shard):
    """The object that holds a shard: here the usual one, with a line in the log."""
    made = await default(shard)
    context.log.info("Shard %d is made.", shard)
    return made


async def request_identify(context, default, shard):
    """Leave to identify: here nobody starts a session at night."""
    hour = time.gmtime().tm_hour
    if hour in QUIET_HOURS:
        await asyncio.sleep((QUIET_HOURS.stop - hour) * 3600)
    return await default(shard)


async def identify(context, default, shard, payload):
    """What a session is started with: here each shard shows its number."""
    presence = {"since": None, "activities": [{"name": f"shard {shard}", "type": 0}], "status": "online", "afk": False}
    await default(shard, {**payload, "presence": presence})


async def heartbeat(context, default, shard, sequence):
    """A heartbeat is due: here its moment is kept."""
    await default(shard, sequence)
    context.state.last_beat[shard] = time.monotonic()


async def handle_payload(context, default, event):
    """An event is to be delivered: here typing is left out, and long messages are cut."""
    if event.name in DROPPED:
        return
    context.state.seen += 1
    if event.name == "MESSAGE_CREATE":
        whole = json.loads(event.payload)
        if len(whole["d"].get("content", "")) > 2000:
            whole["d"]["content"] = whole["d"]["content"][:2000]
            event = msgspec.structs.replace(event, payload=json.dumps(whole).encode())
    await default(event)


async def log(context, default, line):
    """A line of the log, as a dict without secrets: here the pod's name is added."""
    await default({**line, "from": f"{context.gateway}-g{context.generation}-{context.pod}"})


def _helper():
    """The names of helpers begin with an underscore: every other function is taken for a handler."""
    raise HookUseError("is only here to show it")
