"""The other end of ``local.control``: ``dgw local patch`` and ``status``, whether or not ``dgw local`` runs."""

from __future__ import annotations

import http.client
import json
import time
import uuid
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from gateway_operator.cluster.processes.files import FileStorage
from gateway_operator.cluster.processes.objects import ObjectStore
from gateway_operator.local.lock import StateInUseError, StateLock
from gateway_operator.local.manifests import ManifestError
from gateway_operator.local.patching import PATH, patch_stored, token_path

TIMEOUT_SECONDS: Final = 10.0


class RemoteError(Exception):
    """The command could not be carried out; the text is a sentence."""


class NotRunningError(Exception):
    """No ``dgw local`` runs on the state directory."""


def patch_running(state: Path, *, namespace: str | None, name: str | None, patch: Any) -> str:
    """Have the running ``dgw local`` patch a gateway; returns its name.

    Raises :class:`ManifestError` for a patch that is wrong, :class:`NotRunningError` and :class:`RemoteError`.
    """
    try:
        url = urlsplit(json.loads((state / "state.json").read_bytes())["operator"]["url"])
        token = token_path(state).read_text().strip()
    except (OSError, ValueError, KeyError, TypeError):
        raise NotRunningError from None
    body = json.dumps({"namespace": namespace, "name": name, "patch": patch})
    connection = http.client.HTTPConnection(url.hostname or "127.0.0.1", url.port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request(
            "POST", PATH, body=body, headers={"authorization": f"Bearer {token}", "content-type": "application/json"}
        )
        answer = connection.getresponse()
        status, content = answer.status, answer.read()
    except ConnectionRefusedError:
        raise NotRunningError from None
    except (OSError, http.client.HTTPException) as error:
        raise RemoteError(f"dgw local at {url.netloc} does not answer: {error}.") from None
    finally:
        connection.close()
    try:
        parsed = json.loads(content)
    except ValueError:
        parsed = {}
    if status == 422:
        raise ManifestError(*parsed.get("sentences", ["The patch was refused."]))
    if status in (401, 404):  # another program has the port now
        raise NotRunningError
    if status != 200:
        raise RemoteError(f"dgw local answered {status}: {parsed.get('error', 'no reason given')}")
    return str(parsed["name"])


def patch_here(state: Path, *, namespace: str | None, name: str | None, patch: Any) -> str:
    """Patch a stored gateway while no ``dgw local`` runs; the next one starts with it. Raises as above."""
    if not (state / "objects").is_dir():
        raise RemoteError(f"{state} is not the state directory of a dgw local; name it with --state.")
    try:
        with StateLock(state):
            store = ObjectStore(
                new_uid=lambda: str(uuid.uuid4()), unix=time.time, storage=FileStorage(state / "objects")
            )
            changed = patch_stored(store, namespace=namespace, name=name, patch=patch)
    except StateInUseError as error:
        raise RemoteError(f"{error} It does not answer; is it starting or stopping?") from None
    except (OSError, ValueError) as error:
        raise RemoteError(f"{state} cannot be used: {error}") from None
    return str(changed["metadata"]["name"])


def stored_status(state: Path) -> dict[str, Any]:
    """Every gateway's name and status. Raises :class:`RemoteError`."""
    if not (state / "objects").is_dir():
        raise RemoteError(f"{state} is not the state directory of a dgw local; name it with --state.")
    gateways = []
    for path in sorted((state / "objects" / "discordgateways").glob("*/*.json")):
        try:
            manifest = json.loads(path.read_bytes())
        except (OSError, ValueError) as error:
            raise RemoteError(f"{path} cannot be read: {error}.") from None
        metadata = manifest["metadata"]
        gateways.append(
            {
                "namespace": metadata["namespace"],
                "name": metadata["name"],
                "generation": metadata["generation"],
                "spec": manifest["spec"],
                "status": manifest.get("status") or {},
            }
        )
    return {"running": _is_running(state), "gateways": gateways}


def _is_running(state: Path) -> bool:
    try:
        with StateLock(state):
            return False
    except (StateInUseError, OSError):
        return True
