"""The bill of materials of an image, made while it is built: CycloneDX 1.6 JSON, the same for the same contents.

``python sbom.py --name NAME --version VERSION --site DIR [--dpkg FILE]`` prints it. Named are the Python that runs, the
packages of its environment and Debian's packages. Standard library only: it runs in a stage of the build that has no
network. Specification: https://cyclonedx.org/docs/1.6/json/
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import sys
import uuid
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path
from urllib.parse import quote

Component = dict[str, object]


def python_components(folders: list[Path]) -> Iterator[Component]:
    """The packages that are installed in *folders*."""
    for distribution in distributions(path=[str(folder) for folder in folders]):
        name = re.sub(r"[-_.]+", "-", distribution.metadata["Name"]).lower()
        purl = f"pkg:pypi/{quote(name)}@{quote(distribution.version)}"
        component: Component = {
            "type": "library",
            "bom-ref": purl,
            "name": name,
            "version": distribution.version,
            "purl": purl,
        }
        license_ = _license(distribution)
        yield component | ({"licenses": [license_]} if license_ else {})


def debian_components(status: str) -> Iterator[Component]:
    """The packages that *status*, dpkg's own file, calls installed."""
    for paragraph in re.split(r"\n\n+", status):
        fields = dict(re.findall(r"^([A-Za-z-]+): (.*)$", paragraph, flags=re.MULTILINE))
        if fields.get("Status") != "install ok installed":
            continue
        name, version, architecture = fields["Package"], fields["Version"], fields["Architecture"]
        purl = f"pkg:deb/debian/{quote(name)}@{quote(version)}?arch={architecture}"
        yield {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}


def bill(name: str, version: str, components: list[Component]) -> dict[str, object]:
    """The whole document; its serial number follows from its contents."""
    ordered = sorted(components, key=lambda component: str(component["purl"]))
    contents = json.dumps([name, version, ordered], sort_keys=True)
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, contents)}",
        "version": 1,
        "metadata": {
            "component": {"type": "container", "bom-ref": f"{name}@{version}", "name": name, "version": version}
        },
        "components": ordered,
    }


def python_itself() -> Component:
    version = platform.python_version()
    purl = f"pkg:generic/python@{version}"
    return {"type": "platform", "bom-ref": purl, "name": "python", "version": version, "purl": purl}


def _license(distribution: Distribution) -> dict[str, object] | None:
    """As the package's own metadata say: an SPDX expression, or a name."""
    expression = distribution.metadata.get("License-Expression")
    if expression:
        return {"expression": expression}
    said = (distribution.metadata.get("License") or "").strip()
    return {"license": {"name": said}} if said and "\n" not in said and len(said) < 80 else None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True)
    parser.add_argument("--version", required=True)
    parser.add_argument("--site", type=Path, required=True, action="append", help="a folder with installed packages")
    parser.add_argument("--dpkg", type=Path, help="dpkg's status file")
    given = parser.parse_args()
    components = [python_itself(), *python_components(given.site)]
    if given.dpkg is not None and given.dpkg.exists():
        components += debian_components(given.dpkg.read_text())
    json.dump(bill(given.name, given.version, components), sys.stdout, indent=1, sort_keys=True)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
