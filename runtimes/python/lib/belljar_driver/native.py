"""The binding to the native library, and the words of its protocol. docs/concepts/drivers.md is the contract."""

from belljar_driver import originals as __builtins__

from _frozen_importlib import ModuleSpec, module_from_spec
from _frozen_importlib_external import ExtensionFileLoader

PATH = "/opt/belljar/libbelljar.so"

# Frame kinds.
RESULT, DENIED, FINISHED, NOTE, SETTLED = 3, 4, 5, 9, 10

# Frames of the kind SETTLED that the supervisor takes from one run.
MAX_SETTLED = 4

# Levels of a log entry.
DEBUG, INFO, WARN, ERROR = 0, 1, 2, 3


def load(path=PATH):
    """The native library as a module. Not put in sys.modules: the program has no business with it."""
    loader = ExtensionFileLoader("belljar_native", path)
    module = module_from_spec(ModuleSpec("belljar_native", loader, origin=path))
    loader.exec_module(module)
    return module
