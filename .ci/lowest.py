"""Installs the lowest versions that settings.ini allows, of all that users install, and runs the smoke tests.

    python .ci/lowest.py WHEEL [PYTEST'S OPTIONS AND MORE TEST FILES]

The environment is a new one, removed in the end. uv fills it: torch and what it needs are 7 GB, and pip takes
three times as long to fetch and unpack them."""

import argparse
import re
import subprocess
import sys
import tempfile
import venv
from configparser import ConfigParser
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXTRAS = "mini", "paper", "cluster", "umap"
REQUIREMENT = re.compile(r"([\w.-]+(?:\[[\w,-]+\])?)(?:>=|==)([\w.]+)(?:,<[\w.]+)?")  # name, lowest


def lowest_versions(settings: Path) -> dict[str, str]:
    "Package to its lowest version allowed, for all that a user installs, and for pytest."
    config, lowest = ConfigParser(), {}
    config.read(settings, encoding="utf-8")
    keys = ["requirements", *(f"{extra}_requirements" for extra in EXTRAS)]
    asked = " ".join(config["DEFAULT"][key] for key in keys).split()
    tools = config["DEFAULT"]["dev_requirements"].split()
    for one in asked + [tool for tool in tools if re.match(r"pytest\b(?!-)", tool)]:
        if not (found := REQUIREMENT.fullmatch(one)):
            sys.exit(f"settings.ini: '{one}' has no lowest version: write it as NAME>=VERSION.")
        name, version = found.groups()
        if lowest.setdefault(name, version) != version:
            sys.exit(f"settings.ini: {name} is at least {lowest[name]} and {version}: write one of them.")
    return lowest


def main() -> int:
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("wheel", type=Path)
    args, more = parser.parse_known_args()
    pins = [f"{name}=={version}" for name, version in lowest_versions(ROOT / "settings.ini").items()]
    print(*pins, flush=True)
    with tempfile.TemporaryDirectory(prefix="sac_seic_lowest_") as folder:
        venv.create(folder, with_pip=True)
        package, bin = f"{args.wheel.resolve()}[{','.join(EXTRAS)}]", Path(folder) / "bin"
        for command in ([bin / "pip", "install", "-q", "uv"],
                        [bin / "uv", "pip", "install", "-q", "--no-cache", "-p", folder, package, *pins],
                        [bin / "pytest", "-p", "no:cacheprovider", "tests/test_smoke.py", *more]):
            if code := subprocess.run(command, cwd=ROOT).returncode: return code
    return 0


if __name__ == "__main__": sys.exit(main())
