"""What a person reads who wrote something wrong."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from gateway_operator.api.parse import InvalidGateway, parse_gateway
from gateway_operator.api.spec import Compression
from gateway_operator.api.unsupported import refusals

AUTHORITY = (Path(__file__).parent.parent / "connection" / "certificates" / "authority.pem").read_text()

LEAST: dict[str, Any] = {
    "apiVersion": "discordgateway.dev/v1alpha1",
    "kind": "DiscordGateway",
    "metadata": {"name": "my-bot"},
    "spec": {
        "tokenSecretRef": {"name": "my-bot"},
        "intents": ["GUILDS"],
        "forward": {"url": "http://my-bot.default.svc/events"},
    },
}


def manifest(path: str = "", value: Any = None) -> dict[str, Any]:
    """The least manifest with *value* at *path*."""
    made = copy.deepcopy(LEAST)
    if path:
        *parents, last = path.split(".")
        place = made
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    return made


def problems(manifest: dict[str, Any]) -> list[str]:
    with pytest.raises(InvalidGateway) as caught:
        parse_gateway(manifest)
    return list(caught.value.problems)


def test_the_least_manifest_has_the_defaults_of_the_documentation() -> None:
    gateway = parse_gateway(LEAST)
    spec = gateway.spec.manifest()
    assert gateway.metadata.namespace == "default"
    assert spec["apiURL"] == "https://discord.com/api/v10"
    assert spec["compression"] == "zstd-stream"
    assert spec["tokenSecretRef"]["key"] == "token"
    assert spec["shards"] == {"count": 0, "first": 0, "perWorker": 25, "workersPerPod": 4}
    forward = spec["forward"]
    assert (forward["format"], forward["timeoutSeconds"], forward["maxBatchEvents"]) == ("batch", 10, 256)
    assert (forward["maxBatchBytes"], forward["maxDelayMilliseconds"], forward["lanes"]) == (4 << 20, 4, 4)
    assert forward["queue"] == {"maxEvents": 1_000_000, "maxBytes": 1 << 30, "overflow": "DropOldest"}
    reshard = spec["reshard"]
    assert reshard["auto"] is True
    assert (reshard["identifyReserve"], reshard["stallSeconds"], reshard["cooldownSeconds"]) == (100, 300, 3600)
    assert (reshard["overlapSeconds"], reshard["requestID"]) == (10, "")
    assert spec["paused"] is False
    assert refusals(gateway.spec) == []


SENTENCES = [
    (
        "spec.intents",
        ["GUILDS", "GUILD_MEMBERS", "GUILD_MESAGES"],
        'spec.intents[2]: "GUILD_MESAGES" is not a Discord intent; did you mean GUILD_MESSAGES?',
    ),
    ("spec.intents", ["FOO"], 'spec.intents[0]: "FOO" is not a Discord intent.'),
    ("spec.intents", [1], "spec.intents[0]: 1 is not a string."),
    ("spec.intents", "GUILDS", 'spec.intents: "GUILDS" is not a list.'),
    ("spec.intent", ["GUILDS"], "spec.intent: there is no such field; did you mean intents?"),
    ("spec.forward.ulr", "x", "spec.forward.ulr: there is no such field; did you mean url?"),
    (
        "spec.compression",
        "zstd",
        'spec.compression: "zstd" is not one of none, payload, zlib-stream or zstd-stream.',
    ),
    ("spec.shards.count", -1, "spec.shards.count: -1 must be at least 0."),
    ("spec.shards.count", "8", 'spec.shards.count: "8" is not a whole number.'),
    ("spec.shards.count", 99_999, "spec.shards.count: 99999 must be at most 16,384."),
    ("spec.paused", "yes", 'spec.paused: "yes" is not true or false.'),
    (
        "spec.shards",
        {"count": 8, "first": 4, "last": 3},
        "spec.shards: last (3) must not be below first (4).",
    ),
    (
        "spec.shards",
        {"last": 3},
        "spec.shards: a part of the shards needs count to be written out, the same for all parts.",
    ),
    (
        "spec.shards",
        {"count": 8, "last": 8},
        "spec.shards: first and last must be below count (8); shard ids start at 0.",
    ),
    (
        "spec.forward.url",
        "my-bot:8080",
        'spec.forward.url: "my-bot:8080" is not a URL that starts with http:// or https:// and a host.',
    ),
    (
        "spec.apiURL",
        "https://",
        'spec.apiURL: "https://" is not a URL that starts with http:// or https:// and a host.',
    ),
    (
        "spec.gatewayURL",
        "https://gateway",
        'spec.gatewayURL: "https://gateway" is not a URL that starts with ws:// or wss:// and a host.',
    ),
    (
        "spec.forward.events",
        {"include": ["message_create"]},
        'spec.forward.events.include[0]: "message_create" is not the name of a dispatch; '
        "write it as Discord does, such as MESSAGE_CREATE.",
    ),
    (
        "spec.template",
        {"volumes": [{"name": "state", "emptyDir": {}}]},
        'spec.template.volumes[0].name: "state" is a volume of the operator\'s; choose another name.',
    ),
    (
        "spec.template",
        {"volumeMounts": [{"name": "a", "mountPath": "/etc/discord-gateway/token"}]},
        'spec.template.volumeMounts[0].mountPath: "/etc/discord-gateway/token" is a path of the operator\'s; '
        "choose another.",
    ),
    (
        "spec.forward.caBundle",
        "my authority",
        "spec.forward.caBundle: is no PEM certificate; write one or more, each beginning with "
        "-----BEGIN CERTIFICATE-----.",
    ),
    (
        "spec.forward.caBundle",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        "spec.forward.caBundle: is no PEM certificate; write one or more, each beginning with "
        "-----BEGIN CERTIFICATE-----.",
    ),
    (
        "spec.forward.caBundle",
        AUTHORITY + "-----BEGIN EC PRIVATE KEY-----\nhunter2\n-----END EC PRIVATE KEY-----\n",
        "spec.forward.caBundle: holds a block EC PRIVATE KEY; write certificates only, without any key.",
    ),
    (
        "spec.template",
        {"env": [{"name": "POD_INDEX", "value": "1"}]},
        'spec.template.env[0].name: "POD_INDEX" is set by the operator; choose another name.',
    ),
    (
        "spec.template",
        {"resources": {"limits": {"cpu": 1.5}}},
        "spec.template.resources.limits.cpu: 1.5 is neither a whole number nor a string; write it in quotes.",
    ),
    ("spec.tokenSecretRef", {}, "spec.tokenSecretRef.name: is required."),
    ("spec.forward", None, "spec.forward: null is not an object."),
    (
        "metadata.name",
        "x" * 41,
        "metadata.name: must be at most 40 characters, since names of objects are built from it.",
    ),
    ("kind", "Gateway", 'kind: "Gateway" is not DiscordGateway.'),
    ("apiVersion", "v1", 'apiVersion: "v1" is not discordgateway.dev/v1alpha1.'),
]


@pytest.mark.parametrize(("path", "value", "sentence"), SENTENCES, ids=[f"{p}={v!r}"[:40] for p, v, _ in SENTENCES])
def test_a_mistake_is_named_where_it_stands(path: str, value: Any, sentence: str) -> None:
    assert problems(manifest(path, value)) == [sentence]


def test_the_certificates_of_an_authority_are_taken_as_they_are() -> None:
    assert parse_gateway(manifest("spec.forward.caBundle", AUTHORITY * 2)).spec.forward.ca_bundle == AUTHORITY * 2


def test_every_mistake_is_named_at_once() -> None:
    wrong = manifest("spec.shards.count", -1)
    wrong["spec"]["intents"] = ["GUILD"]
    assert len(problems(wrong)) == 2


def test_a_flood_of_mistakes_is_cut_off() -> None:
    assert len(problems(manifest("spec.intents", [f"X{number}" for number in range(32)]))) == 20


def test_a_manifest_that_is_not_one_is_refused() -> None:
    assert problems({}) == ["kind: null is not DiscordGateway."]
    assert problems(manifest("spec", ["x"])) == ["spec: a list is not an object."]


def test_a_value_of_an_object_is_not_shown() -> None:
    assert "hunter2" not in " ".join(problems(manifest("spec.tokenSecretRef.name", {"token": "hunter2"})))


def test_a_long_spec_comes_back_as_it_was_written() -> None:
    written = manifest()
    written["spec"].update(
        {
            "compression": "none",
            "identify": {
                "presence": {"status": "idle", "activities": [{"name": "x", "type": 0}]},
                "largeThreshold": 50,
            },
            "gatewayURL": "ws://sim:1",
            "template": {
                "image": "x/y:z",
                "resources": {"limits": {"cpu": 1, "memory": "1Gi"}},
                "tolerations": [{"key": "k", "operator": "Exists"}],
                "affinity": {"nodeAffinity": {"x": [1]}},
            },
        }
    )
    spec = parse_gateway(written).spec
    assert spec.compression is Compression.NONE
    again = parse_gateway({**written, "spec": spec.manifest()}).spec
    assert again == spec
    assert spec.manifest()["template"]["affinity"] == {"nodeAffinity": {"x": [1]}}
