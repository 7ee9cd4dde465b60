"""The smallest useful receiver: answers pings, and takes every event exactly once.

Run it with ``python bot.py`` and point ``spec.forward.url`` at ``http://HOST:8000/events``. Needs aiohttp.
"""

import sqlite3

from aiohttp import web

# The pair (session, sequence) is the same on every redelivery. Stored in the same transaction as the work that an event
# leads to, it makes "at least once" into "exactly once".
database = sqlite3.connect("bot.sqlite")
database.execute("create table if not exists seen (session text, sequence integer, primary key (session, sequence))")


def handle(payload: dict) -> None:
    if payload["t"] == "MESSAGE_CREATE":
        print(f"{payload['d']['author']['username']}: {payload['d']['content']}")


async def events(request: web.Request) -> web.Response:
    with database:  # one transaction for the batch: an exception rolls back, and the batch comes again
        for event in await request.json():
            key = (event["session"], event["payload"]["s"])
            if database.execute("insert or ignore into seen values (?, ?)", key).rowcount:
                handle(event["payload"])
    return web.Response(status=204)


app = web.Application(client_max_size=16 << 20)
app.router.add_post("/events", events)

if __name__ == "__main__":
    web.run_app(app, port=8000)
