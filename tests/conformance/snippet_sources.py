"""Fetches the packages of snippets_sources.toml and extracts programs from them."""

from __future__ import annotations

import concurrent.futures
import gzip
import hashlib
import json
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import snippet_programs

# Of one package, so that no single one decides the figures; `max` of a source says otherwise.
MAX_OF_PACKAGE = 25
MAX_OF_FILE = 10
MAX_PROGRAM_BYTES = 20_000
MAX_FILE_BYTES = 4_000_000
# Files that may contain programs, and those that describe a package.
READ = (
    ".py",
    ".md",
    ".mdx",
    ".rst",
    ".rst.txt",
    ".ts",
    ".mts",
    ".js",
    ".mjs",
    ".cjs",
    ".jsonl.gz",
    "METADATA",
    "package.json",
)
FETCHES_AT_ONCE = 4
PIP = [sys.executable, "-m", "pip"]


@dataclass(frozen=True)
class Snippet:
    id: str
    language: str
    source: str
    code: str
    # The package that it imports, with its version in the notation of `pip` or `npm`, or else
    # empty.
    package: str = ""


@dataclass(frozen=True)
class Archive:
    """A fetched package."""

    name: str
    version: str
    files: dict[str, bytes]

    @property
    def modules(self) -> dict[str, str]:
        """Returns the import names of a wheel's files."""
        names = {}
        for path in self.files:
            parts = path.removesuffix(".py").split("/")
            if path.endswith(".py") and all(part.isidentifier() for part in parts):
                names[path] = ".".join(parts).removesuffix(".__init__")
        return names


def fetch(sources: Path, cache: Path) -> list[Snippet]:
    wanted = tomllib.loads(sources.read_text())
    found: dict[str, Snippet] = {}
    fetchers = {"pypi": _wheel, "sdist": _sdist, "npm": _tarball, "debian": _deb}
    packages = [(kind, package) for kind in fetchers for package in wanted[kind]["packages"]]
    folders = [cache / "packages" / re.sub(r"[^\w.]+", "_", "-".join(pair)) for pair in packages]
    with concurrent.futures.ThreadPoolExecutor(FETCHES_AT_ONCE) as pool:
        fetched = pool.map(lambda pair, at: fetchers[pair[0]](pair[1], at), packages, folders)
        for (kind, package), archive in zip(packages, fetched, strict=True):
            if archive is None:
                print(f"{kind} {package}: nothing fetched", file=sys.stderr, flush=True)
                continue
            programs = _programs(kind, archive, found, wanted["max"].get(package))
            found |= {program.id: program for program in programs}
            print(f"{kind} {package}: {len(programs)}", file=sys.stderr, flush=True)
    return list(found.values())


def write(snippets: list[Snippet], path: Path) -> None:
    path.write_text("".join(json.dumps(asdict(snippet)) + "\n" for snippet in snippets))
    print(len(snippets), "programs:", dict(Counter(snippet.language for snippet in snippets)))


def read(path: Path) -> list[Snippet]:
    return [Snippet(**json.loads(line)) for line in path.read_text().splitlines()]


def _programs(
    kind: str, archive: Archive, known: dict[str, Snippet], most: int | None
) -> list[Snippet]:
    """Returns programs of a package in the order of the hashes of files and programs, so that the
    selection is the same each time."""
    modules = archive.modules if kind == "pypi" else {}
    own = {name.partition(".")[0] for name in modules.values()}
    separator = "=="
    if kind == "npm":
        own, separator = {archive.name}, "@"
    found: dict[str, Snippet] = {}
    for name in sorted(archive.files, key=_hash):
        of_file = {}
        content = archive.files[name]
        for language, code in snippet_programs.of_file(name, content, modules, kind == "sdist"):
            code = code.strip("\n") + "\n"
            is_sized = len(code) <= MAX_PROGRAM_BYTES and code.count("\n") > 1
            imported = snippet_programs.needs(language, code) if is_sized else None
            if imported is None or imported - own:
                continue
            key = _hash(f"{language}\n{code}")
            package = f"{archive.name}{separator}{archive.version}" if imported else ""
            source = f"{kind} {archive.name} {archive.version}: {name}"
            of_file[key] = Snippet(key, language, source, code, package)
        keys = sorted(of_file.keys() - known.keys() - found.keys())
        found |= {key: of_file[key] for key in keys[: most or MAX_OF_FILE]}
        if len(found) >= (most or MAX_OF_PACKAGE):
            break
    return list(found.values())[: most or MAX_OF_PACKAGE]


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _download(folder: Path, command: list[str], pattern: str) -> Path | None:
    folder.mkdir(parents=True, exist_ok=True)
    if not any(folder.glob(pattern)):
        subprocess.run(command, cwd=folder, capture_output=True, timeout=300, check=False)
    return next(iter(sorted(folder.glob(pattern))), None)


def _wheel(package: str, folder: Path) -> Archive | None:
    command = [*PIP, "download", "-q", "--no-deps", "--only-binary", ":all:", package]
    path = _download(folder, command, "*.whl")
    if path is None:
        return None
    with zipfile.ZipFile(path) as wheel:
        infos = [info for info in wheel.infolist() if _is_read(info.filename, info.file_size)]
        files = {info.filename: wheel.read(info) for info in infos}
    name, version = path.name.split("-")[:2]
    return Archive(name.replace("_", "-"), version, files)


def _sdist(package: str, folder: Path) -> Archive | None:
    name = package.partition("==")[0]
    command = [*PIP, "download", "-q", "--no-deps", "--no-binary", name, package]
    path = _download(folder, command, "*.tar.gz")
    if path is None:
        return None
    version = path.name.removesuffix(".tar.gz").rpartition("-")[2]
    return Archive(name, version, dict(_members(path)))


def _tarball(package: str, folder: Path) -> Archive | None:
    path = _download(folder, ["npm", "pack", "--silent", package], "*.tgz")
    if path is None:
        return None
    files = dict(_members(path))
    about = json.loads(files["package.json"])
    return Archive(about["name"], about["version"], files)


def _deb(package: str, folder: Path) -> Archive | None:
    path = _download(folder, ["apt-get", "download", "-qq", package], "*.deb")
    if path is None:
        return None
    tree = folder / "tree"
    if not tree.exists():
        subprocess.run(["dpkg-deb", "-x", path.name, tree.name], cwd=folder, check=True)
    files = {}
    for page in sorted(tree.rglob("*")):
        # Debian compresses the larger pages of a documentation.
        is_packed = page.name.endswith(".md.gz")
        if page.is_file() and not page.is_symlink() and (is_packed or _is_read(page.name, 0)):
            content = page.read_bytes()
            name = str(page.relative_to(tree)).removesuffix(".gz")
            files[name] = gzip.decompress(content) if is_packed else content
    return Archive(package, path.name.split("_")[1], files)


def _members(path: Path) -> Iterator[tuple[str, bytes]]:
    """Returns the files of a tarball, without the folder that contains them all."""
    with tarfile.open(path) as tarball:
        for member in tarball:
            is_read = member.isfile() and _is_read(member.name, member.size)
            content = tarball.extractfile(member) if is_read else None
            if content:
                yield member.name.partition("/")[2], content.read()


def _is_read(name: str, size: int) -> bool:
    return size < MAX_FILE_BYTES and name.endswith(READ)
