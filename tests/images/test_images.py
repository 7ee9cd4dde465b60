"""What is said of images and looked for in them, on trees that a test makes; the e2e run does it on real ones."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any, Final

import pytest

ROOT: Final = Path(__file__).parents[2]
SCRIPTS: Final = ROOT / "scripts" / "image"
DOCKERFILE: Final = (ROOT / "Dockerfile").read_text()

STATUS: Final = """\
Package: libc6
Status: install ok installed
Architecture: amd64
Version: 2.36-9+deb12u10
Description: GNU C Library
 with more lines: than one

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1

"""


def site(folder: Path) -> Path:
    """Two installed packages."""
    for name, version, extra in (
        ("Zope.Thing_x", "1.0", "License: MIT\n"),
        ("aaa", "2", "License-Expression: Apache-2.0\n"),
    ):
        info = folder / f"{name}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\n{extra}\n")
    return folder


def sbom(tmp_path: Path) -> str:
    status = tmp_path / "status"
    status.write_text(STATUS)
    folder = tmp_path / "site"
    if not folder.exists():
        site(folder)
    command = [
        sys.executable,
        str(SCRIPTS / "sbom.py"),
        "--name=image",
        "--version=1",
        f"--site={folder}",
        f"--dpkg={status}",
    ]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


def test_the_bill_names_what_is_installed_and_nothing_else(tmp_path: Path) -> None:
    bill = json.loads(sbom(tmp_path))
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    assert re.fullmatch(r"urn:uuid:[0-9a-f-]{36}", bill["serialNumber"])
    found = {component["purl"]: component for component in bill["components"]}
    assert set(found) == {
        "pkg:deb/debian/libc6@2.36-9%2Bdeb12u10?arch=amd64",
        "pkg:pypi/aaa@2",
        "pkg:pypi/zope-thing-x@1.0",
        f"pkg:generic/python@{sys.version.split()[0]}",
    }
    assert found["pkg:pypi/aaa@2"]["licenses"] == [{"expression": "Apache-2.0"}]
    assert found["pkg:pypi/zope-thing-x@1.0"]["licenses"] == [{"license": {"name": "MIT"}}]
    references = [component["bom-ref"] for component in bill["components"]]
    assert len(set(references)) == len(references)


def test_the_bill_is_the_same_for_the_same_contents(tmp_path: Path) -> None:
    assert sbom(tmp_path) == sbom(tmp_path)


def member(name: str, mode: int, **more: Any) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.mode = mode
    for key, value in more.items():
        setattr(made, key, value)
    return made


def scanned(*members: tarfile.TarInfo) -> tuple[int, str]:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for each in members:
            archive.addfile(each)
    command = [sys.executable, str(SCRIPTS / "scan.py"), "image"]
    done = subprocess.run(command, input=buffer.getvalue(), capture_output=True, timeout=60, check=False)
    return done.returncode, done.stderr.decode()


def test_an_image_as_it_should_be_passes() -> None:
    directory = tarfile.DIRTYPE
    assert scanned(
        member("./tmp", 0o1777, type=directory),
        member("./usr/bin/su", 0o755),
        member("./usr/bin/sh", 0o777, type=tarfile.SYMTYPE, linkname="dash"),
        member("./var/lib/discord-gateway", 0o755, type=directory, uid=65532, gid=65532),
        member("./dev/null", 0o666, type=tarfile.CHRTYPE),
    ) == (0, "")


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        (member("./usr/bin/su", 0o4755), "/usr/bin/su is setuid or setgid (4755)"),
        (member("./var/mail", 0o2775, type=tarfile.DIRTYPE), "/var/mail is setuid or setgid (2775)"),
        (member("./var/tmp", 0o1777, type=tarfile.DIRTYPE), "/var/tmp is writable for everybody (1777)"),
        (member("./tmp", 0o777, type=tarfile.DIRTYPE), "/tmp is writable for everybody (777)"),
        (member("./opt/project/x.py", 0o644, uid=65532), "/opt/project/x.py is writable for the image's user"),
        (member("./opt/project/x.py", 0o664, gid=65532), "/opt/project/x.py is writable for the image's user"),
        (member("./opt/sda", 0o600, type=tarfile.BLKTYPE), "/opt/sda is a device"),
        (
            member("./usr/bin/ping", 0o755, pax_headers={"SCHILY.xattr.security.capability": "x"}),
            "/usr/bin/ping carries capabilities",
        ),
    ],
)
def test_what_lets_a_process_become_more_is_named(found: tarfile.TarInfo, sentence: str) -> None:
    code, output = scanned(found)
    assert code == 1
    assert output == f"image: {sentence}\n"


def test_the_base_is_pinned_and_nothing_is_fetched_without_a_hash() -> None:
    (base,) = re.findall(r"^ARG BASE_IMAGE=(\S+)$", DOCKERFILE, flags=re.MULTILINE)
    assert re.fullmatch(r"docker\.io/library/python:3\.11\.\d+-slim-\w+@sha256:[0-9a-f]{64}", base)
    assert not re.findall(r"apt-get|curl|wget|ADD ", DOCKERFILE)
    for line in re.findall(r".*pip download.*", DOCKERFILE):
        assert "--require-hashes" in line
    assert DOCKERFILE.count("--no-compile") == DOCKERFILE.count("--invalidation-mode unchecked-hash") == 2


def test_no_image_runs_as_root_and_each_carries_its_bill() -> None:
    stages = dict(re.findall(r"^FROM base AS (\w+)\n(.*?)(?=^FROM |\Z)", DOCKERFILE, flags=re.MULTILINE | re.DOTALL))
    assert set(stages) == {"operator", "simulator", "runtime"}
    for name, lines in stages.items():
        assert "USER 65532:65532" in lines
        assert f"/opt/sbom/{name}.cdx.json /usr/share/sbom/" in lines
