"""Run once by the interpreter that is to run the driver: `python3 -I -S compile.py INSIDE`, where
INSIDE is what this folder is called in a sandbox.

Makes the bytecode of all modules, and `lib/bundle.TAG`: the modules that every start imports as one
marshalled object, with the code that makes modules of them. To find and read each by itself takes a
start 1 ms longer.
"""

import compileall
import marshal
import os
import sys
from importlib.machinery import SourceFileLoader
from py_compile import PycInvalidationMode

FOLDER = __file__.rpartition("/")[0]
PACKAGE = "belljar_driver"

# Runs in the driver's entry, before any other module of the driver.
LOAD = """
import sys
from _frozen_importlib import ModuleSpec
from _frozen_importlib_external import SourceFileLoader

for name, path, code in modules:
    file = sys.path[0] + path
    module = type(sys)(name)
    module.__file__ = file
    module.__loader__ = SourceFileLoader(name, file)
    module.__package__ = "belljar_driver"
    sys.modules[name] = module
    if name == "belljar_driver":
        package = module
        package.__path__ = [file.rpartition("/")[0]]
        # What its other modules are found by, when they are imported.
        package.__spec__ = ModuleSpec(name, module.__loader__, origin=file, is_package=True)
        package.__spec__.submodule_search_locations[:] = package.__path__
    else:
        setattr(package, name.rpartition(".")[2], module)
    exec(code, module.__dict__)
"""


def modules_of_a_start():
    """The names and paths of the modules that the driver's entry imports, each after those that it
    needs itself."""
    order = []
    execute = SourceFileLoader.exec_module

    def exec_module(loader, module):
        execute(loader, module)
        if module.__name__.partition(".")[0] == PACKAGE:
            order.append((module.__name__, module.__file__))

    SourceFileLoader.exec_module = exec_module
    sys.path.insert(0, f"{FOLDER}/lib")
    __import__(f"{PACKAGE}.boot")
    return order


def bundle(inside):
    modules = []
    for name, file in modules_of_a_start():
        path = file.removeprefix(f"{FOLDER}/lib")
        with open(file, "rb") as source:
            modules.append((name, path, compile(source.read(), f"{inside}/lib{path}", "exec", dont_inherit=True)))
    load = compile(LOAD, f"{inside}/lib/{PACKAGE}/load", "exec", dont_inherit=True)
    # Whole or not at all: a start that finds none imports its modules one by one.
    with open(f"{FOLDER}/lib/bundle.part", "wb") as file:
        file.write(marshal.dumps((load, modules)))
    os.rename(file.name, f"{FOLDER}/lib/bundle.{sys.implementation.cache_tag}")


if __name__ == "__main__":
    compileall.compile_dir(FOLDER, quiet=1, stripdir=FOLDER, prependdir=sys.argv[1], invalidation_mode=PycInvalidationMode.UNCHECKED_HASH)
    bundle(sys.argv[1])
