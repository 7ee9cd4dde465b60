"""How the ``dgw`` command talks to a running ``dgw local``: one call on the operator's port, one token in a file.

Only the process that holds the state directory writes there, so a patch goes through it; when none runs, the command
takes the lock and writes itself.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable

from aiohttp import web

from gateway_operator.cluster.port import Manifest
from gateway_operator.cluster.processes.objects import ObjectStore
from gateway_operator.local.manifests import ManifestError
from gateway_operator.local.patching import PATH, patch_stored


class ControlRoutes:
    """The call of a running ``dgw local``."""

    def __init__(self, *, store: ObjectStore, token: str, on_patched: Callable[[Manifest], None]) -> None:
        self._store = store
        self._token = token
        self._on_patched = on_patched

    def routes(self) -> list[web.RouteDef]:
        return [web.post(PATH, self._patch)]

    async def _patch(self, request: web.Request) -> web.Response:
        given = request.headers.get("authorization", "").encode(errors="surrogateescape")
        if not hmac.compare_digest(given, f"Bearer {self._token}".encode()):
            return web.json_response({"error": "The control token is wrong."}, status=401)
        try:
            body = json.loads(await request.read())
            changed = patch_stored(
                self._store, namespace=body.get("namespace"), name=body.get("name"), patch=body["patch"]
            )
        except ManifestError as error:
            return web.json_response({"sentences": list(error.sentences)}, status=422)
        except (ValueError, KeyError, AttributeError, TypeError):
            return web.json_response({"error": "The request is not what dgw sends."}, status=400)
        self._on_patched(changed)
        metadata = changed["metadata"]
        return web.json_response({"namespace": metadata["namespace"], "name": metadata["name"]})
