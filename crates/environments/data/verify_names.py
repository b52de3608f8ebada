#!/usr/bin/env python3
"""Checks python_import_names.tsv against what distributions hold. Run by hand when the table changes; no build or test runs it.

    verify_names.py --installed [FOLDER ...]   against the distributions installed in this Python, or in these site-packages; no network
    verify_names.py --download IMPORT ...      against the newest wheels of these entries, fetched one after another with `pip download`

An entry holds where the distribution has a file that the import finds: `a/b.py`, `a/b/__init__.py`, `a/b.*.so`, or anything in `a/b/`,
which is a namespace. One line per entry: `ok`, `WRONG` with what the distribution has at its top, or `unknown` where there is no wheel.
The exit status is 1 where one is wrong.

Entries are named on purpose and fetched with a pause in between: a package index is not to be asked for the whole table at once.
"""

import argparse
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import zipfile
from importlib import metadata

TABLE = pathlib.Path(__file__).with_name("python_import_names.tsv")
PAUSE_SECONDS = 2
NO_DISTRIBUTION = "-"


def normalized(name: str) -> str:
    """The name as PEP 503 has it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def entries() -> dict[str, str]:
    """Import name to distribution, of the entries that have one."""
    rows = (line.split("\t") for line in TABLE.read_text().splitlines() if line and not line.startswith("#"))
    return {row[0]: re.split("[<>=]", row[1])[0] for row in rows if row[1] != NO_DISTRIBUTION}


def provides(files: list[str], module: str) -> bool:
    """Whether an import of the module finds one of these files."""
    path = re.escape(module.replace(".", "/"))
    # In a wheel, what goes into site-packages can also lie in `name.data/purelib` and `platlib`.
    found = re.compile(rf"^(?:[^/]+\.data/(?:pure|plat)lib/)?{path}(?:/.*|\.py|(?:\.[^/]*)?\.so)$")
    return any(found.match(file) for file in files)


def installed_files(folders: list[str]) -> dict[str, list[str]]:
    """The files of each installed distribution."""
    found = metadata.distributions(path=folders) if folders else metadata.distributions()
    return {normalized(d.metadata["Name"]): [file.as_posix() for file in d.files or []] for d in found if d.metadata["Name"]}


def wheel_files(distribution: str) -> list[str] | None:
    """The files of the newest wheel, or none where there is no wheel for this Python."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest", folder, distribution]
        if subprocess.run(command, capture_output=True, check=False).returncode != 0:
            return None
        wheel = next(pathlib.Path(folder).glob("*.whl"))
        return zipfile.ZipFile(wheel).namelist()


def report(module: str, distribution: str, files: list[str] | None) -> str:
    """Prints what was found for one entry, and returns its verdict."""
    if not files:
        verdict, detail = "unknown", ""
    elif provides(files, module):
        verdict, detail = "ok", ""
    else:
        verdict, detail = "WRONG", "  has " + " ".join(sorted({file.split("/")[0] for file in files})[:12])
    print(f"{verdict:8}{module} -> {distribution}{detail}", flush=True)
    return verdict


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--installed", nargs="*", metavar="FOLDER")
    source.add_argument("--download", nargs="+", metavar="IMPORT")
    asked = parser.parse_args()
    table = entries()
    verdicts = []
    if asked.installed is not None:
        installed = installed_files(asked.installed)
        held = [(module, distribution) for module, distribution in table.items() if distribution in installed]
        verdicts = [report(module, distribution, installed[distribution]) for module, distribution in held]
    for number, module in enumerate(asked.download or []):
        if number > 0:
            time.sleep(PAUSE_SECONDS)
        verdicts.append(report(module, table[module], wheel_files(table[module])))
    print(f"{verdicts.count('ok')} ok, {verdicts.count('WRONG')} wrong, {verdicts.count('unknown')} unknown, of {len(table)} entries")
    return 1 if "WRONG" in verdicts else 0


if __name__ == "__main__":
    sys.exit(main())
