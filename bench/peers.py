"""Installs the peers in a cache directory: npm packages at pinned versions, and bubblewrap from the
system or from Debian."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent


@dataclass
class Peers:
    """The path of each peer, or None if the peer is not available, with the reason in `missing`."""

    cache: Path
    hosts: Path | None = None
    deno: Path | None = None
    workerd: Path | None = None
    bwrap: Path | None = None
    versions: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


def install_peers(node: Path) -> Peers:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "belljar" / "bench"
    cache.mkdir(parents=True, exist_ok=True)
    peers = Peers(cache)
    _install_npm_packages(peers, cache / "npm", node)
    _install_bubblewrap(peers, cache / "debian")
    return peers


def _install_npm_packages(peers: Peers, directory: Path, node: Path) -> None:
    manifest = (HERE / "peers/package.json").read_text()
    directory.mkdir(exist_ok=True)
    modules = directory / "node_modules"
    kept = directory / "package.json"
    if not modules.exists() or not kept.exists() or kept.read_text() != manifest:
        kept.write_text(manifest)
        npm = shutil.which("npm")
        if not npm:
            peers.missing["deno, isolated-vm, secure-exec, workerd"] = "npm is not on PATH"
            return
        # npm chooses versions and prebuilt binaries for the node that runs it, so that must be the
        # one that runs the hosts. All four ship their binaries as packages, so none of their
        # install scripts is needed.
        done = subprocess.run(
            [npm, "install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock"],
            cwd=directory,
            env={**os.environ, "PATH": f"{node.parent}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            shutil.rmtree(modules, ignore_errors=True)
            peers.missing["deno, isolated-vm, secure-exec, workerd"] = (
                f"npm install failed: {done.stderr.strip()[-300:]}"
            )
            return
    peers.hosts = directory / "hosts"
    # The hosts must be next to node_modules to find the packages that they import.
    shutil.copytree(HERE / "hosts", peers.hosts, dirs_exist_ok=True)
    peers.deno = _first(peers, modules, "deno", "@deno/linux-*/deno")
    peers.workerd = _first(peers, modules, "workerd", "@cloudflare/workerd-linux-*/bin/workerd")
    for name in ("isolated-vm", "secure-exec"):
        peers.versions[name] = _package_version(modules / name)


def _first(peers: Peers, modules: Path, package: str, pattern: str) -> Path | None:
    found = sorted(modules.glob(pattern))
    if not found:
        peers.missing[package] = "its npm package has no binary for this platform"
        return None
    peers.versions[package] = _package_version(modules / package)
    return found[0]


def _package_version(package: Path) -> str:
    return json.loads((package / "package.json").read_text())["version"]


def _install_bubblewrap(peers: Peers, directory: Path) -> None:
    on_path = shutil.which("bwrap")
    unpacked = directory / "bubblewrap/usr/bin/bwrap"
    if on_path:
        peers.bwrap = Path(on_path)
    elif unpacked.exists():
        peers.bwrap = unpacked
    else:
        directory.mkdir(exist_ok=True)
        done = subprocess.run(
            ["apt-get", "download", "bubblewrap"], cwd=directory, capture_output=True, text=True
        )
        packages = sorted(directory.glob("bubblewrap_*.deb"))
        if done.returncode != 0 or not packages:
            peers.missing["bubblewrap"] = (
                f"not on PATH, and `apt-get download bubblewrap` failed: {done.stderr.strip()[-300:]}"
            )
            return
        subprocess.run(["dpkg", "-x", packages[-1], directory / "bubblewrap"], check=True)
        peers.bwrap = unpacked
    said = subprocess.run([peers.bwrap, "--version"], capture_output=True, text=True).stdout
    peers.versions["bubblewrap"] = said.split()[-1]
