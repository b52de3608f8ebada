"""The trusted part of a Python sandbox: boots, waits to be activated, runs the program, reports.

Every module of the package starts with `from belljar_driver import originals as __builtins__`: functions take their builtins from
that name when they are made, so a program that replaces `builtins.len` or `builtins.open` breaks itself and not its report.
"""

import builtins

#: The builtins as they were before any user code ran.
originals = dict(vars(builtins))

#: Code objects whose file name starts with this belong to the driver and are not shown in stacks.
FOLDER = __file__.rpartition("/")[0] + "/"

#: Where the public modules (`belljar`, `yepcode`) and this package live.
LIBRARY = FOLDER[:-1].rpartition("/")[0]

#: The working folder and home of every sandbox.
HOME = "/home/user"
