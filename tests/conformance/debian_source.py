"""Fetches an upstream source tree from Debian's archive.

The archive is the one that this system already uses: its URL and signing keys are read from apt's own
configuration. apt writes package lists and downloads only to the given cache directory; the system's
apt files are only read.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

# Newer majors of a runtime enter Debian through experimental, then sid, then testing; older ones
# leave in the same order.
SUITES = "testing sid experimental"


class SourceUnavailable(Exception):
    """The source package is unavailable. The message has the reason and a fix."""


@dataclass(frozen=True)
class SourceTree:
    """An unpacked upstream source tree and the Debian version it came from."""

    path: Path
    version: str


@dataclass(frozen=True)
class _Candidate:
    version: str
    tarball: str
    sha256: str

    @property
    def upstream(self) -> tuple[int, ...]:
        return tuple(
            int(part) for part in re.match(r"\d+(?:\.\d+)*", self.version).group().split(".")
        )


def fetch_source(package: str, wanted: tuple[int, ...], cache: Path) -> SourceTree:
    """Unpacks the source of `package` whose version is nearest to `wanted` within the same major,
    and returns its folder.

    A tree that is already in the cache is used as it is.
    """
    major = wanted[0]
    kept = cache / f"{package}-{major}"
    version_file = kept / ".debian-version"
    if version_file.exists():
        return SourceTree(kept / "tree", version_file.read_text().strip())

    apt = _PrivateApt(cache / "apt")
    apt.update()
    candidates = [c for c in apt.candidates(package) if c.upstream[0] == major]
    if not candidates:
        raise SourceUnavailable(
            f"none of the suites {SUITES} has {package} {major}; a different major may be in them by now"
        )
    candidates.sort(key=lambda c: [abs(a - b) for a, b in zip(c.upstream, wanted)])
    for candidate in candidates:
        tarball = apt.download(package, candidate, cache / "downloads")
        if tarball:
            _unpack(tarball, kept / "tree")
            version_file.write_text(candidate.version + "\n")
            return SourceTree(kept / "tree", candidate.version)
    listed = ", ".join(c.version for c in candidates)
    raise SourceUnavailable(
        f"the archive lists {package} {listed} but serves none of them just now (a mirror in transition); try again later"
    )


class _PrivateApt:
    """apt with a configuration, package lists and cache of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "state/lists/partial").mkdir(parents=True, exist_ok=True)
        (root / "cache/archives/partial").mkdir(parents=True, exist_ok=True)
        sources = root / "source.sources"
        sources.write_text(_deb_src_entry())
        configuration = root / "apt.conf"
        # Read after the system's own configuration, so that its proxies apply. Clears the hooks
        # that clean the system's package cache, which must not run for a private one.
        configuration.write_text(
            f'Dir::State "{root}/state";\n'
            f'Dir::Cache "{root}/cache";\n'
            f'Dir::Etc::sourcelist "{sources}";\n'
            'Dir::Etc::sourceparts "/dev/null";\n'
            'Dir::State::status "/var/lib/dpkg/status";\n'
            'APT::Sandbox::User "root";\n'
            "#clear APT::Update::Post-Invoke;\n"
            "#clear APT::Update::Post-Invoke-Success;\n"
        )
        self.options = ["-c", str(configuration)]

    def update(self) -> None:
        done = subprocess.run(
            ["apt-get", *self.options, "-q", "update"], capture_output=True, text=True
        )
        if done.returncode != 0:
            raise SourceUnavailable(
                f"the package lists of {SUITES} could not be fetched: {done.stderr.strip()}"
            )

    def candidates(self, package: str) -> list[_Candidate]:
        shown = subprocess.run(
            ["apt-cache", *self.options, "showsrc", package], capture_output=True, text=True
        ).stdout
        found = []
        for record in shown.split("\n\n"):
            version = re.search(r"^Version: (\S+)", record, re.MULTILINE)
            sums = re.search(r"^Checksums-Sha256:\s*\n((?: .*\n?)+)", record, re.MULTILINE)
            if not version or not sums:
                continue
            for line in sums.group(1).splitlines():
                sha256, _, name = line.split()
                # The additional components (`.orig-types-node.tar.xz`) contain no tests.
                if re.search(r"\.orig\.tar\.\w+$", name):
                    found.append(_Candidate(version.group(1), name, sha256))
        return found

    def download(self, package: str, candidate: _Candidate, into: Path) -> Path | None:
        """Returns the main tarball, or None if the archive does not serve it.

        Ignores apt's exit status: a mirror in transition may lack the `.dsc` or a component that is not
        needed here. The tarball is verified by the checksum in the signed package list.
        """
        into.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            [
                "apt-get",
                *self.options,
                "-q",
                "source",
                "--download-only",
                f"{package}={candidate.version}",
            ],
            cwd=into,
            capture_output=True,
        )
        tarball = into / candidate.tarball
        if tarball.exists() and _sha256(tarball) == candidate.sha256:
            return tarball
        return None


def _deb_src_entry() -> str:
    """Returns a deb822 entry for the source suites at the archive of this system's own Debian
    suite."""
    listed = subprocess.run(
        [
            "apt-get",
            "indextargets",
            "--format",
            "$(ORIGIN)|$(LABEL)|$(RELEASE)|$(REPO_URI)|$(SIGNED_BY)",
        ],
        capture_output=True,
        text=True,
    ).stdout
    for line in listed.splitlines():
        origin, label, release, uri, signed_by = line.split("|")
        if origin == "Debian" and label == "Debian" and "-" not in release:
            keys = (
                signed_by
                if signed_by.startswith("/")
                else "/usr/share/keyrings/debian-archive-keyring.gpg"
            )
            return f"Types: deb-src\nURIs: {uri}\nSuites: {SUITES}\nComponents: main\nSigned-By: {keys}\n"
    raise SourceUnavailable(
        "apt knows no Debian archive on this system; run `apt-get update` first (on another system, unpack the source by hand and name it with --tree)"
    )


def _unpack(tarball: Path, into: Path) -> None:
    into.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        ["tar", "-C", str(into), "--strip-components=1", "--no-same-owner", "-xf", str(tarball)],
        check=True,
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
