"""Run once by each Python that is to run the driver, since nothing can be written where it runs: compiles it, each module beside its
source as Python does it, and the driver's own once more into one file, which driver.py reads.

    python3 -I -S bundle.py FOLDER FOLDER_INSIDE

To find and read each module by itself took a one-shot run a millisecond. The file is `{name: (path, marshalled code)}`, marshalled:
what a run does not import is not unmarshalled.
"""

import compileall
import marshal
import os
import py_compile
import sys

folder, inside = sys.argv[1:]
unchecked = py_compile.PycInvalidationMode.UNCHECKED_HASH
compileall.compile_dir(folder, quiet=2, stripdir=folder, prependdir=inside, invalidation_mode=unchecked)

modules = {}
for file in sorted(os.listdir(folder + "/lib/belljar_driver")):
    stem, extension = os.path.splitext(file)
    if extension == ".py":
        path = "/lib/belljar_driver/" + file
        with open(folder + path, "rb") as source:
            # The paths that tracebacks show are those inside.
            code = compile(source.read(), inside + path, "exec", dont_inherit=True)
        modules["belljar_driver" if stem == "__init__" else "belljar_driver." + stem] = inside + path, marshal.dumps(code)
with open(folder + "/bundle", "wb") as file:
    marshal.dump(modules, file)
