"""The packages of an environment: where they are found, and which of them are imported before there is a program."""

from belljar_driver import originals as __builtins__

import sys
from posix import listdir


def find(environment):
    """Makes this interpreter one of the environment, as starting it from a virtual environment would. Runs nothing of the packages'."""
    place = environment["place"]
    sys.prefix = sys.exec_prefix = place
    sys.executable = place + "/bin/python3"
    sys.path.append(folder_of(place))


def folder_of(place):
    return f"{place}/lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"


def enter(environment):
    """Imports what is to be imported ahead. From here on code of the packages may run."""
    folder = folder_of(environment["place"])
    if any(name.endswith(".pth") for name in listdir(folder)):
        from site import addsitedir

        addsitedir(folder)
    for name in environment["modules"]:
        before = set(sys.modules)
        try:
            __import__(name)
        except BaseException:
            # The program imports it again, and is told why it cannot. Python forgets the module that failed and keeps those inside it, which the
            # module would not know of when it is imported again.
            top = name.partition(".")[0]
            for module in set(sys.modules) - before:
                if module.partition(".")[0] == top:
                    del sys.modules[module]
