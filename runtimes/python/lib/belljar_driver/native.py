"""The binding to the native library, and the constants of its protocol. docs/concepts/drivers.md
is the contract."""

from belljar_driver import originals as __builtins__

from _frozen_importlib import ModuleSpec, module_from_spec
from _frozen_importlib_external import ExtensionFileLoader

PATH = "/opt/belljar/libbelljar.so"

# Frame kinds.
RESULT, DENIED, NOTE, SETTLED = 3, 4, 9, 10

# Maximum number of SETTLED frames that the supervisor accepts from one run.
MAX_SETTLED = 4

# Levels of a log entry.
DEBUG, INFO, WARN, ERROR = 0, 1, 2, 3


def load(path=PATH):
    """Loads the native library as a module. It is not added to sys.modules, because the program
    must not use it."""
    loader = ExtensionFileLoader("belljar_native", path)
    module = module_from_spec(ModuleSpec("belljar_native", loader, origin=path))
    loader.exec_module(module)
    return module
