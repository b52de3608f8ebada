"""From the start of the process to its activation. In a zygote, `start` returns once per
sandbox, in the forked child."""

from belljar_driver import originals as __builtins__

import sys
from gc import collect, enable, freeze as freeze_collected
from posix import O_CLOEXEC, O_RDONLY, close, open as open_descriptor, read

from belljar_driver import LIBRARY, ending, native as native_library, session
from belljar_driver.text import decode_json
from belljar_driver.untouched import driver_module

CONFIGURATION = LIBRARY.rpartition("/")[0].rpartition("/")[0] + "/boot.json"


def main(native=None, configuration=None):
    """Boots, waits, runs one program and exits. Tests pass in a double of the native library."""
    native = native or native_library.load()
    configuration = configuration or read_configuration()
    # Nothing is writable here, so searching for a place for a .pyc file only takes time.
    sys.dont_write_bytecode = True
    is_zygote = configuration["start"] == "fork"
    environment = configuration.get("environment")
    if environment is not None:
        driver_module("packages").find(environment)
    if is_zygote:
        enable()
        native.become_zygote()
        stop_holding_back = driver_module("fork_hooks").hold_back()
        driver_module("preload").import_common_modules()
        driver_module("identity").draw_before_forks()
        session.load_everything()
    session.prepare(native, environment)
    if is_zygote:
        if environment is not None and environment["preload"] == "zygote":
            native.begin_imports()
            stop_noting = driver_module("identity").note_generators()
            driver_module("packages").enter(environment)
            stop_noting()
            environment = None
        stop_holding_back()
        freeze()
    else:
        # None of these objects is garbage, so the program's first collection need not walk them.
        freeze_collected()
        enable()
    is_scout = native.start(configuration["rehearsal"])
    # The scout is not jailed, so no code of a package may run in it.
    session.live(native, is_zygote, None if is_scout else environment)


def freeze():
    """Moves all objects out of the garbage collector's reach: a collection in a child would
    otherwise write to every page that it walks."""
    ending.remember_exit_handlers()
    collect()
    freeze_collected()


def read_configuration():
    descriptor = open_descriptor(CONFIGURATION, O_RDONLY | O_CLOEXEC)
    try:
        content = b""
        while chunk := read(descriptor, 1 << 20):
            content += chunk
    finally:
        close(descriptor)
    return decode_json(content.decode())
