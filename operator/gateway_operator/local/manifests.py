"""A file of YAML documents becomes gateways, Secrets and ConfigMaps, or sentences about what is wrong with it."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from gateway_operator.api.parse import InvalidGateway, parse_gateway
from gateway_operator.api.unsupported import refusals
from gateway_operator.cluster.port import CONFIG_MAP, GATEWAY, SECRET, Manifest

DEFAULT_NAMESPACE: Final = "default"
APPLIED_ANNOTATION: Final = "discordgateway.dev/applied"
"""On a stored object: hash of the document that it was last applied from."""
_STORED_KINDS: Final = (GATEWAY.kind, SECRET.kind, CONFIG_MAP.kind)


class ManifestError(Exception):
    """The file cannot be used; each of ``sentences`` says what is wrong and what to write instead."""

    def __init__(self, *sentences: str) -> None:
        super().__init__("\n".join(sentences))
        self.sentences = sentences


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestFile:
    """What a file asks for."""

    objects: tuple[Manifest, ...]
    """Secrets and ConfigMaps first, then gateways; each has a namespace and the hash of its document."""
    ignored: tuple[str, ...]
    """Sentences about documents that mean nothing without Kubernetes."""

    @property
    def gateways(self) -> tuple[Manifest, ...]:
        return tuple(manifest for manifest in self.objects if manifest["kind"] == GATEWAY.kind)


def read_manifests(path: Path) -> ManifestFile:
    """Read and check a file. Raises :class:`ManifestError`."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ManifestError(f"{path} cannot be read: {error.strerror or error}.") from None
    except UnicodeDecodeError as error:
        raise ManifestError(f"{path} is not UTF-8 text (byte {error.start}).") from None
    return parse_manifests(text, source=str(path))


def parse_manifests(text: str, *, source: str) -> ManifestFile:
    """Check YAML documents. Raises :class:`ManifestError` with all that is wrong at once."""
    try:
        documents = list(yaml.safe_load_all(text))
    except yaml.YAMLError as error:
        raise ManifestError(f"{source} is not YAML: {_yaml_problem(error)}.") from None
    objects: dict[tuple[str, str, str], Manifest] = {}
    sentences: list[str] = []
    ignored: list[str] = []
    for number, document in enumerate(documents, start=1):
        if document is None:
            continue
        where = f"{source}, document {number}"
        kind = document.get("kind") if isinstance(document, dict) else None
        if isinstance(kind, str) and kind not in _STORED_KINDS:
            ignored.append(f"{where}: kind {kind} is left out, dgw local runs only gateways.")
            continue
        wrong = list(_wrong(document))
        sentences.extend(f"{where}: {sentence}" for sentence in wrong)
        if wrong:
            continue
        manifest = _completed(document)
        key = (manifest["kind"], manifest["metadata"]["namespace"], manifest["metadata"]["name"])
        if key in objects:
            sentences.append(f"{where}: {key[0]} {key[1]}/{key[2]} stands in the file twice.")
        objects[key] = manifest
    if not sentences and not any(kind == GATEWAY.kind for kind, _, _ in objects):
        sentences.append(f"{source} holds no DiscordGateway; write one with kind: DiscordGateway.")
    if sentences:
        raise ManifestError(*sentences)
    in_order = sorted(objects.values(), key=lambda manifest: manifest["kind"] == GATEWAY.kind)
    return ManifestFile(objects=tuple(in_order), ignored=tuple(ignored))


def gateway_problems(manifest: Manifest) -> list[str]:
    """What keeps a ``DiscordGateway`` from being run, as sentences."""
    try:
        gateway = parse_gateway(manifest)
    except InvalidGateway as error:
        return list(error.problems)
    return refusals(gateway.spec)


def merged(target: Any, patch: Any) -> Any:
    """Apply a JSON merge patch (RFC 7396); neither argument is changed."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


def _wrong(document: Any) -> Iterator[str]:
    if not isinstance(document, dict):
        yield "is not an object; write apiVersion, kind, metadata and spec."
        return
    if not isinstance(document.get("kind"), str):
        yield "has no kind; write kind: DiscordGateway."
        return
    metadata = document.get("metadata")
    if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str) or not metadata["name"]:
        yield f"{document['kind']} has no metadata.name."
        return
    if not isinstance(metadata.get("namespace", DEFAULT_NAMESPACE), str):
        yield "metadata.namespace is not text."
        return
    for name in (metadata["name"], metadata.get("namespace", DEFAULT_NAMESPACE)):
        if "/" in name or name.startswith("."):
            yield f'"{name}" is not a Kubernetes name; write lower-case letters, digits and "-".'
            return
    if document["kind"] == GATEWAY.kind:
        yield from gateway_problems(document)
    elif document["kind"] == SECRET.kind:
        yield from _wrong_secret(document)
    else:
        yield from _wrong_texts(document, "data")


def _wrong_secret(document: Manifest) -> Iterator[str]:
    name = document["metadata"]["name"]
    yield from _wrong_texts(document, "stringData")
    yield from _wrong_texts(document, "data")
    data = document.get("data")
    for key, value in data.items() if isinstance(data, dict) else ():
        try:
            base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError, TypeError):
            yield f"Secret {name}: data.{key} is not base64; put plain text under stringData."


def _wrong_texts(document: Manifest, field: str) -> Iterator[str]:
    content = document.get(field)
    if content is None:
        return
    if not isinstance(content, dict):
        yield f"{document['kind']} {document['metadata']['name']}: {field} is not a map of texts."
        return
    for key, value in content.items():
        if not isinstance(value, str):
            yield f"{document['kind']} {document['metadata']['name']}: {field}.{key} is not text; put it in quotes."
        elif "/" in str(key) or str(key).startswith("."):
            yield f"{document['kind']} {document['metadata']['name']}: {field} has a key {key!r} that cannot be a file."


def _completed(document: Manifest) -> Manifest:
    metadata = {"namespace": DEFAULT_NAMESPACE, **document["metadata"]}
    digest = hashlib.sha256(json.dumps(document, sort_keys=True, default=str).encode()).hexdigest()[:16]
    metadata["annotations"] = {**(metadata.get("annotations") or {}), APPLIED_ANNOTATION: digest}
    return {**{name: value for name, value in document.items() if name != "status"}, "metadata": metadata}


def _yaml_problem(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"{error.problem} (line {mark.line + 1}, column {mark.column + 1})"
    return str(error)
