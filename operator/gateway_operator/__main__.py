"""The operator process: kopf's thread, the loops of all gateways, and the identify gate on one port.

``python -m gateway_operator --runtime-image IMAGE --operator-url URL [--namespace NS]...``
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import random
import re
import secrets
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway_hooks import HookLoadError, Hooks
from gateway_operator import logs
from gateway_operator.cluster.kubernetes import KubernetesCluster
from gateway_operator.control_plane import ControlPlane
from gateway_operator.hooking import load_hooks
from gateway_operator.http_client import AiohttpClient
from gateway_operator.identify.relay import Relay
from gateway_operator.leadership.fence import FencedCluster
from gateway_operator.leadership.lease import Leadership
from gateway_operator.operation import Operation
from gateway_operator.ports import SystemClock
from gateway_operator.resources.settings import RuntimeSettings
from gateway_operator.web.surface import Surface
from shard_runtime.contract import RUNTIME_PORT

log = logging.getLogger("gateway_operator")

DEFAULT_RUNTIME_IMAGE: Final = "ghcr.io/discord-gateway/discord-gateway-runtime:0.1.0"


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseOptions:
    """Where operators agree on who acts."""

    namespace: str
    name: str
    identity: str
    address: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    settings: RuntimeSettings
    namespaces: Sequence[str]
    """Empty: all of them."""
    host: str
    port: int
    log_level: str
    lease: LeaseOptions | None
    """None: this is the only operator."""
    handlers: Path | None = None
    """A file with the operator's hooks."""


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
    parser.add_argument(
        "--network-policies",
        action="store_true",
        help="make a NetworkPolicy for each gateway: its pods reach what its spec names, and nothing else",
    )
    parser.add_argument(
        "--lease",
        metavar="NAMESPACE/NAME",
        default=environment("LEASE"),
        help="Lease by which several operators agree on one that acts; without it, this must be the only one",
    )
    parser.add_argument("--host", default=environment("OPERATOR_HOST", "0.0.0.0"), help="address to listen on")
    parser.add_argument("--port", type=int, default=int(environment("OPERATOR_PORT", str(RUNTIME_PORT))))
    parser.add_argument(
        "--handlers",
        type=Path,
        default=Path(file) if (file := environment("HANDLERS_FILE")) else None,
        metavar="FILE",
        help="Python with should_reshard and reshard, see docs/handlers.md",
    )
    parser.add_argument("--log-level", choices=logs.LEVELS, default=environment("LOG_LEVEL", "info"))
    given = parser.parse_args(arguments)
    if not given.operator_url:
        parser.error("--operator-url (or OPERATOR_URL) is needed: pods ask there for identify permits")
    if given.lease and not re.fullmatch(r"[^/]+/[^/]+", given.lease):
        parser.error("--lease (or LEASE) must be NAMESPACE/NAME")
    from_environment = [name.strip() for name in environment("WATCH_NAMESPACES", "").split(",") if name.strip()]
    return Options(
        settings=RuntimeSettings(
            image=given.runtime_image, operator_url=given.operator_url, network_policies=given.network_policies
        ),
        namespaces=given.namespace if given.namespace is not None else from_environment,
        host=given.host,
        port=given.port,
        log_level=given.log_level,
        handlers=given.handlers,
        lease=_lease(given.lease, given.port, environment),
    )


def _lease(given: str | None, port: int, environment: Callable[[str], str | None]) -> LeaseOptions | None:
    """*given* is NAMESPACE/NAME."""
    if not given:
        return None
    namespace, _, name = given.partition("/")
    address = environment("POD_IP")
    host = f"[{address}]" if address and ":" in address else address
    return LeaseOptions(
        namespace=namespace,
        name=name,
        # A container that is started again in its pod is the same candidate: the process before it has ended.
        identity=f"{environment('POD_NAME') or socket.gethostname()}_{environment('POD_UID') or secrets.token_hex(8)}",
        address=f"http://{host}:{port}" if host else None,
    )


def surface_of(plane: ControlPlane, relay: Relay, *, ready: Callable[[], bool]) -> Surface:
    """All that the operator answers."""
    return Surface(ready=ready, metrics=plane.metrics, routes=relay.routes(plane.routes()))


async def run(options: Options, kubernetes: KubernetesCluster, hooks: Hooks | None = None) -> int:
    """Run until SIGTERM or SIGINT (0), or until kopf's thread ends by itself (1)."""
    clock, chance = SystemClock(), random.Random()
    leadership = None
    if options.lease is not None:
        leadership = Leadership(
            cluster=kubernetes,
            clock=clock,
            chance=chance,
            namespace=options.lease.namespace,
            name=options.lease.name,
            identity=options.lease.identity,
            address=options.lease.address,
        )

    def leading() -> bool:
        return leadership is None or leadership.leading

    cluster = FencedCluster(kubernetes, leading=leading)
    async with AiohttpClient() as http:
        plane = ControlPlane.assemble(
            cluster=cluster,
            http=http,
            clock=clock,
            chance=chance,
            settings=lambda: options.settings,
            incarnation=secrets.token_hex(4),
            leading=leading,
            hooks=hooks,
        )
        operation = Operation(plane=plane, cluster=cluster, namespaces=options.namespaces, leadership=leadership)
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, operation.stop.set)
        relay = Relay(
            http=http,
            leading=leading,
            leader_address=lambda: None if leadership is None else leadership.leader_address,
        )
        surface = surface_of(plane, relay, ready=lambda: operation.ready)
        await surface.start(options.host, options.port)
        try:
            return await operation.run()
        finally:
            await surface.stop()


def main() -> int:
    """Run the operator; returns the exit code."""
    options = parse()
    logs.configure(options.log_level)
    try:
        hooks = load_hooks(options.handlers, clock=SystemClock())
    except HookLoadError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    cluster = KubernetesCluster.connect()
    try:
        return asyncio.run(run(options, cluster, hooks))
    finally:
        cluster.close()


if __name__ == "__main__":
    sys.exit(main())
