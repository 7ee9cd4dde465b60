"""The operator process: kopf's thread, the loops of all gateways, and the identify gate on one port.

``python -m gateway_operator --runtime-image IMAGE --operator-url URL [--namespace NS]...``
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import random
import secrets
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gateway_operator import logs
from gateway_operator.cluster.kubernetes import KubernetesCluster
from gateway_operator.cluster.port import GATEWAY, ClusterError
from gateway_operator.control_plane import ControlPlane
from gateway_operator.handlers import Events
from gateway_operator.http_client import AiohttpClient
from gateway_operator.ports import SystemClock
from gateway_operator.resources.settings import RuntimeSettings
from gateway_operator.web.surface import Surface
from shard_runtime.contract import RUNTIME_PORT

log = logging.getLogger("gateway_operator")

DEFAULT_RUNTIME_IMAGE: Final = "ghcr.io/discord-gateway/discord-gateway-runtime:0.1.0"
RESOURCE_RETRY_SECONDS: Final = 3.0
KOPF_STOP_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    settings: RuntimeSettings
    namespaces: Sequence[str]
    """Empty: all of them."""
    host: str
    port: int
    log_level: str


def parse(arguments: Sequence[str] | None = None) -> Options:
    """Command line first, then the environment variable of the same name."""
    environment = os.environ.get
    parser = argparse.ArgumentParser(prog="python -m gateway_operator", description=__doc__)
    parser.add_argument(
        "--runtime-image",
        default=environment("RUNTIME_IMAGE", DEFAULT_RUNTIME_IMAGE),
        help="image of the pods that hold the shards",
    )
    parser.add_argument(
        "--operator-url", default=environment("OPERATOR_URL"), help="where pods reach this process, http://HOST:PORT"
    )
    parser.add_argument(
        "--namespace",
        action="append",
        default=None,
        help="look after the gateways of this namespace; may be repeated; without it, of all",
    )
    parser.add_argument("--host", default=environment("OPERATOR_HOST", "0.0.0.0"), help="address to listen on")
    parser.add_argument("--port", type=int, default=int(environment("OPERATOR_PORT", str(RUNTIME_PORT))))
    parser.add_argument("--log-level", choices=logs.LEVELS, default=environment("LOG_LEVEL", "info"))
    given = parser.parse_args(arguments)
    if not given.operator_url:
        parser.error("--operator-url (or OPERATOR_URL) is needed: pods ask there for identify permits")
    from_environment = [name.strip() for name in environment("WATCH_NAMESPACES", "").split(",") if name.strip()]
    return Options(
        settings=RuntimeSettings(image=given.runtime_image, operator_url=given.operator_url),
        namespaces=given.namespace if given.namespace is not None else from_environment,
        host=given.host,
        port=given.port,
        log_level=given.log_level,
    )


async def run(options: Options, cluster: KubernetesCluster) -> int:
    """Run until SIGTERM or SIGINT (0), or until kopf's thread ends by itself (1)."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with AiohttpClient() as http:
        plane = ControlPlane.assemble(
            cluster=cluster,
            http=http,
            clock=SystemClock(),
            chance=random.Random(),
            settings=lambda: options.settings,
            incarnation=secrets.token_hex(4),
        )
        events = Events(fleet=plane.fleet, loop=loop, namespaces=options.namespaces)
        surface = Surface(ready=lambda: events.ready, metrics=plane.metrics, routes=plane.gate.routes())
        await surface.start(options.host, options.port)
        try:
            if not await _resource_exists(cluster, options.namespaces, stop):
                return 0
            events.start()
            await _first(stop, events.ended)
            code = 0 if stop.is_set() else 1
            log.info("stopping" if code == 0 else "kopf ended by itself; stopping, to be started anew")
            await events.stop(seconds=KOPF_STOP_SECONDS)
            return code
        finally:
            await plane.fleet.stop()
            await surface.stop()


async def _resource_exists(cluster: KubernetesCluster, namespaces: Sequence[str], stop: asyncio.Event) -> bool:
    """Wait until the API server knows ``DiscordGateway``; False when told to stop before."""
    said = ""
    while not stop.is_set():
        try:
            await cluster.select(GATEWAY, namespaces[0] if namespaces else None, {})
        except ClusterError as error:
            if str(error) != said:
                said = str(error)
                log.warning("DiscordGateways cannot be listed yet (is the CRD installed?): %s", said)
        else:
            return True
        try:
            async with asyncio.timeout(RESOURCE_RETRY_SECONDS):
                await stop.wait()
        except TimeoutError:
            continue
    return False


async def _first(*events: asyncio.Event) -> None:
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


def main() -> int:
    """Run the operator; returns the exit code."""
    options = parse()
    logs.configure(options.log_level)
    cluster = KubernetesCluster.connect()
    try:
        return asyncio.run(run(options, cluster))
    finally:
        cluster.close()


if __name__ == "__main__":
    sys.exit(main())
