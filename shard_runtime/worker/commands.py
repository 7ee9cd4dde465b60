"""Commands at a worker: onto a session of one of its shards, or on to another pod."""

from __future__ import annotations

from shard_runtime.orders import CommandRefused, Done, Failed, FromWorker, PassedOn, PassOnCommand, SendCommand
from shard_runtime.outbound import BusyError, NoSessionError
from shard_runtime.protocol.send_budget import Command
from shard_runtime.siblings import SiblingError, Siblings
from shard_runtime.worker.shards import Shards


async def send_command(shards: Shards, order: SendCommand) -> FromWorker:
    """Answer once the command is sent, or why it is not."""
    command = Command(op=order.op, payload=order.payload.encode(), all_members_of=order.all_members_of)
    try:
        await shards.command(order.shard, command)
    except BusyError as error:
        return CommandRefused(status=429, error=str(error), retry_after_seconds=error.retry_after)
    except NoSessionError as error:
        return CommandRefused(status=409, error=str(error))
    return Done()


async def pass_on(siblings: Siblings, order: PassOnCommand) -> FromWorker:
    """Answer with what the other pod answers."""
    try:
        response = await siblings.command(order.generation, order.pod, order.request)
    except SiblingError as error:
        return Failed(error=f"{error}.")
    return PassedOn(
        status=response.status,
        body=response.body.decode(errors="replace"),
        retry_after=response.headers.get("retry-after"),
    )
