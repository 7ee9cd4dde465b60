"""Thin kopf: what happens in the cluster is handed to the loops in the main thread, and nothing is decided here.

kopf runs in a thread of its own, because in a shared event loop it replaces signal handlers and, at its exit, cancels
every task it did not make. It keeps the finalizer and runs one daemon per gateway; there are no create or update
handlers, so it writes no annotations on a living gateway: a loop that compares what is with what should be needs no
memory of what was.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Protocol, TypeVar

import kopf

from gateway_operator.api.base import GROUP, PLURAL, VERSION
from gateway_operator.api.generation import GATEWAY_LABEL
from gateway_operator.cluster.port import ClusterError

log = logging.getLogger(__name__)

FINALIZER: Final = f"{GROUP}/operator"
RETRY_SECONDS: Final = 3.0
MOST_CLEANUPS: Final = 20
"""After so many tries a deleted gateway is let go; owner references delete what is left."""

Result = TypeVar("Result")


class Loops(Protocol):
    """The part of the fleet that events reach."""

    def add(self, namespace: str, name: str) -> None: ...

    def wake(self, namespace: str, name: str) -> None: ...

    async def remove(self, namespace: str, name: str) -> None: ...

    async def clean_up(self, namespace: str, name: str) -> None: ...


class Events:
    """kopf's thread: starts with the operator and ends with it."""

    def __init__(self, *, fleet: Loops, loop: asyncio.AbstractEventLoop, namespaces: Sequence[str]) -> None:
        """*loop* is where *fleet* lives; no *namespaces* means all of them."""
        self._fleet = fleet
        self._loop = loop
        self._namespaces = namespaces
        self._stop = threading.Event()
        self._ready = threading.Event()
        self._generations: dict[tuple[str, str], int] = {}
        self._thread = threading.Thread(target=self._run, name="kopf", daemon=True)
        self.ended = asyncio.Event()
        """Set when the thread is over, wanted or not."""

    @property
    def ready(self) -> bool:
        return self._ready.is_set() and self._thread.is_alive()

    @property
    def alive(self) -> bool:
        """Whether the thread still runs."""
        return self._thread.is_alive()

    def start(self) -> None:
        self._thread.start()

    async def stop(self, *, seconds: float) -> None:
        """End the thread; one that does not end in *seconds* ends with the process."""
        self._stop.set()
        await asyncio.to_thread(self._thread.join, seconds)

    def _run(self) -> None:
        # Unused without peering, but kopf would make it of the user's name, and a uid of an image need not have one.
        identity: Any = FINALIZER
        try:
            kopf.run(
                registry=self.registry(),
                settings=settings(),
                standalone=True,
                identity=identity,
                clusterwide=not self._namespaces,
                namespaces=list(self._namespaces),
                stop_flag=self._stop,
                ready_flag=self._ready,
            )
        except Exception:
            log.exception("kopf ended")
        finally:
            with contextlib.suppress(RuntimeError):  # the main loop is over: nobody waits for this any more
                self._loop.call_soon_threadsafe(self.ended.set)

    def registry(self) -> kopf.OperatorRegistry:
        """All handlers."""
        registry = kopf.OperatorRegistry()
        resource: Any = (GROUP, VERSION, PLURAL)
        labels = {GATEWAY_LABEL: kopf.PRESENT}
        kopf.on.login(registry=registry, id="login")(_login)
        kopf.daemon(*resource, registry=registry, id="look-after")(self._look_after)
        kopf.on.delete(*resource, registry=registry, id="clean-up")(self._clean_up)
        kopf.on.event(*resource, registry=registry, id="gateway")(self._on_gateway)
        kopf.on.event("apps", "v1", "statefulsets", registry=registry, labels=labels, id="sets")(self._on_owned)
        kopf.on.event("", "v1", "pods", registry=registry, labels=labels, id="pods")(self._on_owned)
        return registry

    async def _look_after(self, namespace: str | None, name: str, stopped: kopf.DaemonStopped, **_: Any) -> None:
        self._call(self._fleet.add, namespace, name)
        await stopped.wait()
        await self._in_main(lambda: self._fleet.remove(_given(namespace), name))

    async def _clean_up(self, namespace: str | None, name: str, retry: int, **_: Any) -> None:
        try:
            await self._in_main(lambda: self._fleet.clean_up(_given(namespace), name))
        except ClusterError as error:
            if retry >= MOST_CLEANUPS:
                log.error("%s/%s: letting go although something may be left: %s", namespace, name, error)
                return
            raise kopf.TemporaryError(str(error), delay=RETRY_SECONDS) from None

    async def _on_gateway(self, namespace: str | None, name: str, type: str, meta: kopf.Meta, **_: Any) -> None:
        """A written status is an event too, and the commonest; only a changed spec is a reason to look again."""
        key = (_given(namespace), name)
        if type == "DELETED":
            self._generations.pop(key, None)
            return
        generation = int(meta.get("generation") or 0)
        if self._generations.get(key) != generation:
            self._generations[key] = generation
            self._call(self._fleet.wake, namespace, name)

    async def _on_owned(self, namespace: str | None, meta: kopf.Meta, **_: Any) -> None:
        self._call(self._fleet.wake, namespace, meta["labels"][GATEWAY_LABEL])

    def _call(self, function: Callable[[str, str], None], namespace: str | None, name: str) -> None:
        self._loop.call_soon_threadsafe(function, _given(namespace), name)

    async def _in_main(self, work: Callable[[], Awaitable[Result]]) -> Result:
        async def run() -> Result:
            return await work()

        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(run(), self._loop))


def _given(namespace: str | None) -> str:
    """kopf also knows resources without a namespace; ours and its objects have one."""
    if namespace is None:
        raise kopf.PermanentError("The resource has no namespace.")
    return namespace


async def _login(**parameters: Any) -> kopf.ConnectionInfo | None:
    """The pod's own credentials when there are any, the kubeconfig otherwise; a registry of one's own has no login."""
    return kopf.login_with_service_account(**parameters) or kopf.login_with_kubeconfig(**parameters)


class _Nothing(kopf.DiffBaseStorage):
    """Keeps no last seen state: there are no handlers that ask what changed."""

    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None:
        return None


def settings() -> kopf.OperatorSettings:
    """kopf's settings; each was tried on a real API server."""
    made = kopf.OperatorSettings()
    made.posting.enabled = False
    made.persistence.finalizer = FINALIZER
    # Must store something, or a deletion that needs a second try hangs; it only ever writes on a dying object.
    made.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=GROUP)
    made.persistence.diffbase_storage = _Nothing()
    made.background.instant_exit_timeout = 0.5
    # The resource exists (the operator waits for it), and watching namespaces and CRDs would need rights for nothing.
    made.scanning.disabled = True
    made.watching.label_selectors["pods"] = GATEWAY_LABEL
    made.watching.label_selectors["statefulsets"] = GATEWAY_LABEL
    made.watching.server_timeout = 300
    made.watching.client_timeout = 330
    made.networking.request_timeout = 30
    return made
