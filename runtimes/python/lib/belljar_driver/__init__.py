"""The trusted part of a Python sandbox: it boots, waits for the activation, runs the program, and
reports.

Every module of the package starts with `from belljar_driver import originals as __builtins__`:
functions look up their builtins under that name when they are defined, so a program that
replaces `builtins.len` or `builtins.open` breaks only itself, not its report.
"""

import builtins

#: The builtins before any user code ran.
originals = dict(vars(builtins))

#: Code objects whose file name starts with this belong to the driver and are not shown in stacks.
FOLDER = __file__.rpartition("/")[0] + "/"

#: The folder of the public modules (`belljar`, `yepcode`) and of this package.
LIBRARY = FOLDER[:-1].rpartition("/")[0]

#: The working folder and home of every sandbox.
HOME = "/home/user"
