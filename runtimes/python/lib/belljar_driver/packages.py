"""The packages of an environment: where they are found, and which of them are imported before there
is a program.

Modules that were imported in advance are kept separately, not in `sys.modules`, until the
program imports them. They are handed over only if that import would find the same module: no
module of the program comes first on the path or already has the name, and no variable was
changed. Otherwise the module is imported again, except for packages with native modules, most of
which cannot be imported twice in one process.
"""

from belljar_driver import originals as __builtins__

import sys
from _frozen_importlib import ModuleSpec
from _frozen_importlib_external import ExtensionFileLoader, PathFinder
from posix import environ, listdir
from sys import modules, stdlib_module_names

from belljar_driver import after_import

_Module = type(sys)


def find(environment):
    """Makes this interpreter use the environment, as if it were started from a virtual
    environment. Runs no code of the packages."""
    place = environment["place"]
    sys.prefix = sys.exec_prefix = place
    sys.executable = place + "/bin/python3"
    sys.path.append(folder_of(place))


def folder_of(place):
    return f"{place}/lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"


def enter(environment):
    """Imports the modules that are to be imported in advance, and keeps them separately. From
    here on, code of the packages may run."""
    folder = folder_of(environment["place"])
    if any(name.endswith(".pth") for name in listdir(folder)):
        from site import addsitedir

        addsitedir(folder)
    if environment["modules"]:
        _advance.fill(environment["modules"])


def advance_module(name):
    """Returns a module that was imported in advance, whether or not the program has imported it
    yet."""
    return modules.get(name) or _advance.kept.get(name)


def begin():
    """Called once the program's variables and path are set. All later changes were made by the
    program."""
    if _advance.kept:
        _advance.environment = dict(environ)
        sys.meta_path.insert(0, _advance)


class _Imports:
    """Records which module imports which, while modules are imported in advance."""

    def __init__(self):
        self.needed = {}

    def watch(self, import_module):
        needed = self.needed

        def noting(name, globals=None, locals=None, fromlist=(), level=0):
            before = len(modules)
            module = import_module(name, globals, locals, fromlist, level)
            importer = globals.get("__name__") if globals else None
            if type(importer) is str:
                found = needed.setdefault(importer, set())
                if level:
                    package = globals.get("__package__") or ""
                    base = package.rsplit(".", level - 1)[0] if level > 1 else package
                    name = f"{base}.{name}" if name else base
                found.add(name)
                for item in fromlist or ():
                    if type(item) is str and f"{name}.{item}" in modules:
                        found.add(f"{name}.{item}")
                if len(modules) != before and "*" in (fromlist or ()):
                    found.update(other for other in modules if other.startswith(name + "."))
            return module

        return noting


class _Advance:
    """The modules that were imported in advance, and the finder that hands them over. It is the
    first one on the meta path."""

    def __init__(self):
        self.kept = {}
        self.needed = {}
        self.decided = {}
        self.environment = None
        self.path = ()

    # In advance

    def fill(self, names):
        import builtins

        imports = _Imports()
        original = builtins.__import__
        before_all = set(modules)
        for name in names:
            before = set(modules)
            builtins.__import__ = imports.watch(original)
            try:
                original(name)
            except BaseException:
                # The program imports the module again and then gets the error. Python forgets the
                # failed module but keeps its submodules, which the module would not have as
                # attributes when it is imported again.
                top = name.partition(".")[0]
                for module in set(modules) - before:
                    if module.partition(".")[0] == top:
                        del modules[module]
            finally:
                builtins.__import__ = original
            new = [module for module in modules if module not in before]
            # A module with no known importer (`importlib.import_module`) is attributed to the
            # import as a whole.
            known = {other for others in imports.needed.values() for other in others}
            imports.needed.setdefault(name, set()).update(module for module in new if module not in known)
        self.needed = imports.needed
        for name in [name for name in modules if name not in before_all and _is_of_package(name)]:
            self.kept[name] = modules.pop(name)
        self.path = tuple(sys.path)

    # For the program

    def find_spec(self, name, path=None, target=None):
        module = self.kept.get(name)
        if module is None:
            return None
        if not self._is_meant(name):
            return None
        return _spec_of(name, module, _Loader(self))

    def load(self, name):
        """Hands over a module with all modules that its import has loaded."""
        self._hand_over(name)
        real = self.kept.pop(name, None)
        if real is not None:
            modules[name] = real
            after_import.is_there(name, real)
        if not self.kept and self in sys.meta_path:
            sys.meta_path.remove(self)

    def _hand_over(self, name):
        for needed in self._closure(name):
            if needed == name or needed not in self.kept:
                continue
            module = self.kept.pop(needed)
            if needed not in modules:
                modules[needed] = module
                after_import.is_there(needed, module)

    def _closure(self, name):
        """Returns the modules that a module has imported, directly and indirectly, in the order
        of the imports."""
        found, waiting = set(), [name]
        while waiting:
            one = waiting.pop()
            if one in found:
                continue
            found.add(one)
            parent = one.rpartition(".")[0]
            if parent:
                waiting.append(parent)
            waiting.extend(self.needed.get(one, ()))
        return [kept for kept in self.kept if kept in found]

    def _is_meant(self, name):
        """Returns whether the program's import would find the module that is kept. This is
        decided once for a whole package, when it is first imported."""
        top = name.partition(".")[0]
        decision = self.decided.get(top)
        if decision is None:
            decision = self.decided[top] = self._decide(name, top)
            if not decision:
                for other in self._dependents(top):
                    self.decided[other] = False
                for kept in [kept for kept in self.kept if not self.decided.get(kept.partition(".")[0], True)]:
                    del self.kept[kept]
        return decision

    def _decide(self, name, top):
        closure = self._closure(name)
        tops = {kept.partition(".")[0] for kept in closure}
        if self._is_another(top):
            return False
        is_as_it_was = environ == self.environment and not any(kept in modules for kept in closure) and not any(map(self._is_another, tops))
        return is_as_it_was or not self._is_renewable(top)

    def _is_another(self, top):
        """Returns whether a folder that was added to the path contains a module of that name,
        before the packages."""
        for folder in sys.path:
            if folder in self.path:
                if folder.endswith("/site-packages"):
                    return False
                continue
            spec = PathFinder.find_spec(top, [folder]) if type(folder) is str else None
            if spec is not None and spec.loader is not None:
                return True
        return False

    def _dependents(self, top):
        """Returns the packages that have imported a package, including itself."""
        found, changed = {top}, True
        while changed:
            changed = False
            for importer, needed in self.needed.items():
                package = importer.partition(".")[0]
                if package not in found and any(name.partition(".")[0] in found for name in needed):
                    found.add(package)
                    changed = True
        return found

    def _is_renewable(self, top):
        packages = self._dependents(top)
        return not any(
            isinstance(getattr(getattr(module, "__spec__", None), "loader", None), ExtensionFileLoader)
            for name, module in self.kept.items()
            if name.partition(".")[0] in packages
        )


class _Loader:
    """A loader that replaces the module of an import by the one that is kept, as Python allows
    modules to replace themselves."""

    def __init__(self, advance):
        self.advance = advance

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        self.advance.load(module.__name__)


def _is_of_package(name):
    top = name.partition(".")[0]
    return top not in stdlib_module_names and top not in ("belljar_driver", "belljar_native", "belljar", "yepcode", "__main__")


def _spec_of(name, module, loader):
    """Returns a spec like that of the module's own finder, for code that only looks up the place
    of a module."""
    real = getattr(module, "__spec__", None)
    spec = ModuleSpec(name, loader, origin=getattr(real, "origin", None), is_package=hasattr(module, "__path__"))
    if hasattr(module, "__path__"):
        spec.submodule_search_locations[:] = list(module.__path__)
    if getattr(real, "has_location", False):
        spec.has_location = True
        spec.cached = getattr(real, "cached", None)
    return spec


_advance = _Advance()
