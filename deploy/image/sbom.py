"""Print what an image holds, as SPDX 2.3 JSON: the Python packages of a virtual environment, and the system's.

Run inside the image's build: ``python3 sbom.py /opt/quotehelper``. SOURCE_DATE_EPOCH is its date, or 1970: the same
image has the same list.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

_BUILD_ONLY = frozenset({"pip", "setuptools"})
"""Taken out after the installation."""


def python_packages(environment: Path) -> list[dict[str, Any]]:
    """The distributions in ``environment``, each as an SPDX package."""
    (packages,) = environment.glob("lib/python3.*/site-packages")
    found = {each.name.lower(): each for each in distributions(path=[str(packages)])}
    return [
        package(
            found[name].name,
            found[name].version,
            f"pkg:pypi/{name.replace('_', '-')}@{found[name].version}",
            found[name].metadata.get("License-Expression"),
        )
        for name in sorted(found.keys() - _BUILD_ONLY)
    ]


def system_packages() -> list[dict[str, Any]]:
    """The packages of a Debian, or none."""
    query = shutil.which("dpkg-query")
    if query is None:
        return []
    form = "${Package}\t${Version}\t${Architecture}\n"
    listed = subprocess.run([query, "-W", "-f", form], capture_output=True, text=True, check=True).stdout  # noqa: S603  found above
    rows = sorted(line.split("\t") for line in listed.splitlines())
    return [
        package(name, version, f"pkg:deb/debian/{name}@{version}?arch={arch}", None) for name, version, arch in rows
    ]


def package(name: str, version: str, url: str, licence: str | None) -> dict[str, Any]:
    """One package as SPDX has it."""
    return {
        "SPDXID": "SPDXRef-" + re.sub(r"[^A-Za-z0-9.-]", "-", url.removeprefix("pkg:")),
        "name": name,
        "versionInfo": version,
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": False,
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": licence or "NOASSERTION",
        "externalRefs": [
            {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": url},
        ],
    }


def document(packages: list[dict[str, Any]], created: dt.datetime) -> dict[str, Any]:
    """All of them as one SPDX document, named by its content."""
    digest = hashlib.sha256(json.dumps(packages, sort_keys=True).encode()).hexdigest()
    return {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": "quotehelper",
        "documentNamespace": f"urn:sha256:{digest}",
        "creationInfo": {"created": created.strftime("%Y-%m-%dT%H:%M:%SZ"), "creators": ["Tool: quotehelper-sbom"]},
        "packages": packages,
        "relationships": [
            {
                "spdxElementId": "SPDXRef-DOCUMENT",
                "relationshipType": "DESCRIBES",
                "relatedSpdxElement": each["SPDXID"],
            }
            for each in packages
        ],
    }


if __name__ == "__main__":
    date = dt.datetime.fromtimestamp(int(os.environ.get("SOURCE_DATE_EPOCH", "0")), dt.UTC)
    given = python_packages(Path(sys.argv[1])) + system_packages()
    json.dump(document(given, date), sys.stdout, indent=1)
