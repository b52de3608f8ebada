"""Installs packages, each into a folder of its own, or compiles what programs import of them. Runs in an installer's jail, and runs nothing of the packages.

Each package is installed by itself: no other can change its files, which the environments of other programs will hold too.

    install_packages.py install PLAN    with the network: a virtual environment, and the packages next to it
    install_packages.py compile PLAN    without: their modules

The plan is a JSON document: `uv`, `arguments`, `interpreter`, `place` (where programs find their packages), `folder` (of the packages), and `packages`,
each with its `folder` and `requirement` (a line with hashes). Where a package cannot be installed, the last lines are uv's messages about it, and the exit status is 1.
"""

import importlib.util
import json
import os
import py_compile
import re
import selectors
import subprocess
import sys

INSTALLERS = 8
#: Tests are not compiled in advance, but when they are imported.
TESTS = re.compile(r"/(tests?|testing/tests)/")


def main():
    with open(sys.argv[2], encoding="utf-8") as file:
        plan = json.load(file)
    return install(plan) if sys.argv[1] == "install" else compile_packages(plan)


def install(plan):
    """Installs all packages, several at a time."""
    command = [plan["uv"], "venv", "--quiet", "--allow-existing", "--no-config", "--no-python-downloads", "--python", plan["interpreter"], plan["place"]]
    if subprocess.run(command, stdin=subprocess.DEVNULL, stderr=subprocess.STDOUT).returncode != 0:
        return 1
    waiting, running, failed = list(plan["packages"]), {}, False
    with selectors.DefaultSelector() as selector:
        while running or waiting and not failed:
            while waiting and not failed and len(running) < INSTALLERS:
                process = start(plan, waiting.pop(0))
                running[process.stdout] = (process, [])
                selector.register(process.stdout, selectors.EVENT_READ)
            for key, _ in selector.select():
                process, output = running[key.fileobj]
                data = os.read(key.fd, 65536)
                if data:
                    output.append(data)
                    continue
                selector.unregister(key.fileobj)
                del running[key.fileobj]
                if process.wait() != 0:
                    failed = True
                    sys.stdout.write(b"".join(output).decode(errors="replace"))
                    sys.stdout.flush()
    return 1 if failed else 0


def start(plan, package):
    folder = os.path.join(plan["folder"], package["folder"])
    os.makedirs(folder)
    requirement = folder + ".txt"
    with open(requirement, "w", encoding="utf-8") as file:
        file.write(package["requirement"] + "\n")
    arguments = ["pip", "install", "--no-deps", "--require-hashes", "--link-mode", "copy", "--prefix", folder, *plan["arguments"]]
    command = [plan["uv"], *arguments, "--python", os.path.join(plan["place"], "bin/python3"), "--requirements", requirement]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def compile_packages(plan):
    """Compiles the modules of all packages, in as many processes as there are processors, each of which gets about as many bytes of them."""
    shares = [[0, []] for _ in range(os.cpu_count() or 1)]
    for package in plan["packages"]:
        for size, file, inside in modules(os.path.join(plan["folder"], package["folder"])):
            share = min(shares, key=lambda share: share[0])
            share[0] += size
            share[1].append((file, inside))
    compilers = []
    for _, files in shares:
        compiler = os.fork()
        if compiler == 0:
            try:
                compile_files(files, plan["place"])
            finally:
                os._exit(0)
        compilers.append(compiler)
    for compiler in compilers:
        os.waitpid(compiler, 0)
    return 0


def modules(folder):
    """Size and path of each module that programs import, and its path in an environment. No link is followed."""
    for path, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            file = os.path.join(path, name)
            inside = file[len(folder) + 1 :]
            if name.endswith(".py") and inside.startswith("lib/") and not TESTS.search("/" + inside) and not os.path.islink(file):
                yield os.path.getsize(file), file, inside


def compile_files(files, place):
    """Without times, and with the paths at which programs will find the modules: the same whenever and wherever it is done."""
    # Files that do not compile are for other versions of Python, and no error.
    sys.stderr = open(os.devnull, "w")
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    for file, inside in files:
        try:
            py_compile.compile(file, importlib.util.cache_from_source(file), os.path.join(place, inside), False, -1, mode, 2)
        except Exception:
            pass


if __name__ == "__main__":
    sys.exit(main())
