"""Writes an image's software bill of materials (CycloneDX JSON): its Python packages and its Debian packages.

    python bill_of_materials.py /opt/qure /sbom.cdx.json

Runs while the image is built, with the cyclonedx-bom package; the same image gives the same file.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any


def main(environment: Path, output: Path) -> None:
    """Describes the environment and the system around it."""
    bill = python_packages(environment)
    bill["components"] = sorted(
        [*bill.get("components", []), *debian_packages()], key=lambda component: component["bom-ref"]
    )
    output.write_text(json.dumps(bill, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def python_packages(environment: Path) -> dict[str, Any]:
    """What cyclonedx-bom finds in a virtual environment."""
    command = [sys.executable, "-m", "cyclonedx_py", "environment", "--output-reproducible", str(environment)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


def debian_packages() -> list[dict[str, Any]]:
    """The system's packages, as dpkg knows them."""
    command = ["dpkg-query", "--show", "--showformat", "${Package} ${Version} ${Architecture}\n"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    components = []
    for name, version, architecture in map(str.split, lines):
        purl = f"pkg:deb/debian/{name}@{version}?arch={architecture}"
        components.append({"type": "library", "name": name, "version": version, "purl": purl, "bom-ref": purl})
    return components


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
