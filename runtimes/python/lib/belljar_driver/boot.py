"""From the start of the process to its activation. In a zygote `start` returns once per sandbox, in the forked child."""

from belljar_driver import originals as __builtins__

import sys
from posix import O_CLOEXEC, O_RDONLY, close, open as open_descriptor, read

from belljar_driver import LIBRARY, native as native_library, sandbox
from belljar_driver.text import decode_json

CONFIGURATION = LIBRARY.rpartition("/")[0].rpartition("/")[0] + "/boot.json"


def main(native=None, configuration=None):
    """Boots, waits, runs one program and leaves the process. Tests hand in a double of the native library."""
    native = native or native_library.load()
    configuration = configuration or read_configuration()
    # An environment's folders are read-only and already compiled: looking for somewhere to write a .pyc only makes denials.
    sys.dont_write_bytecode = True
    if configuration["start"] == "fork":
        warm_up()
    native.start()
    sandbox.live(native, configuration["start"] == "fork")


def warm_up():
    """Imports what programs commonly need, so that forks share it, and moves it all out of the garbage collector's sight:
    a collection in a child would otherwise write to every page it walks."""
    from belljar_driver import preload

    preload.import_common_modules()
    sandbox.load_everything()
    import gc

    gc.collect()
    gc.freeze()


def read_configuration():
    descriptor = open_descriptor(CONFIGURATION, O_RDONLY | O_CLOEXEC)
    try:
        content = b""
        while chunk := read(descriptor, 1 << 20):
            content += chunk
    finally:
        close(descriptor)
    return decode_json(content.decode())
