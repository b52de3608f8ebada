# The entry of the Python driver. Started as `python3 -I driver.py`; everything else is in lib/, and once more, compiled, in one file
# that bundle.py has made. Both lead the import path only while the driver imports itself, so that no module of the program can take its place.
import sys
from _frozen_importlib import ModuleSpec
from marshal import loads

_FOLDER = __file__.rpartition("/")[0]


class _Bundle:
    """Finds the driver's modules in that file."""

    def __init__(self, file):
        with file:
            self.modules = loads(file.read())

    def find_spec(self, name, path=None, target=None):
        if name not in self.modules:
            return None
        spec = ModuleSpec(name, self, origin=self.modules[name][0], is_package=name == "belljar_driver")
        spec.has_location = True
        if spec.submodule_search_locations is not None:
            spec.submodule_search_locations.append(spec.origin.rpartition("/")[0])
        return spec

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        exec(loads(self.modules[module.__name__][1]), module.__dict__)


try:
    sys.meta_path.insert(0, _Bundle(open(_FOLDER + "/bundle", "rb")))
except OSError:
    pass
sys.path.insert(0, _FOLDER + "/lib")
from belljar_driver import boot

del sys.path[0]
if type(sys.meta_path[0]) is _Bundle:
    del sys.meta_path[0]
boot.main()
