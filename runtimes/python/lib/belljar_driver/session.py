"""The life of a sandbox's process, from its preparation at boot to its execution. What belongs to
the execution of one program is in execution.py."""

from belljar_driver import originals as __builtins__

from posix import getpid

from belljar_driver import HOME, access, after_import, denials, environment, errors, streams, warned
from belljar_driver.execution import Execution
from belljar_driver.text import decode_json
from belljar_driver.untouched import driver_module

#: Libraries that would show things in a window, by the module whose import indicates that a program
#: uses them. The values are functions of libraries.py.
_TAKE_OVER = {
    "matplotlib.backend_bases": "take_over_matplotlib",
    "matplotlib.figure": "take_over_matplotlib_figures",
    "plotly.io._renderers": "take_over_plotly",
    "plotly.io._html": "take_over_plotly_pages",
    "bokeh.io.showing": "take_over_bokeh",
    "bokeh.io.output": "take_over_bokeh_output",
    "PIL.ImageShow": "take_over_pillow",
    "IPython.core.display_functions": "take_over_ipython",
    "webbrowser": "take_over_webbrowser",
}
#: Modules that are imported when they are first needed, and in advance by a zygote.
_SELDOM_NEEDED = """
    bounded_repr call figures fork_hooks hints identity imports kinds libraries notebook references rich source storage tables
"""


def load_everything():
    """Imports the modules that are otherwise imported when they are first needed. A zygote does
    this once for all its sandboxes."""
    for name in _SELDOM_NEEDED.split():
        driver_module(name)
    errors.load()
    driver_module("imports").load()


def prepare(native, packages=None):
    """Prepares everything that does not depend on the activation, at boot. A zygote does this
    once for all its sandboxes."""
    streams.install(native.annotate)
    environment.prepare(packages)
    for module, function in _TAKE_OVER.items():
        after_import.call(module, lambda imported, function=function: getattr(driver_module("libraries"), function)(imported))
    access.add_display()
    warned.hide_driver()
    denials.install()


def live(native, is_forked, packages=None, home=HOME):
    """Waits for the activation, executes what it says, and exits. `packages` is the environment
    that is still to be entered."""
    if is_forked:
        _take_identity(native)
    if packages is not None:
        # Where processes may be started, the init is process 1, and packages inspect the process
        # when they are imported.
        if getpid() != 1:
            environment.expect_exec()
        driver_module("packages").enter(packages)
    activation = decode_json(native.receive())
    execution = Execution(native, activation, home)
    if activation["task"] == "find_imports":
        execution.find_imports()
    else:
        execution.run()


def _take_identity(native):
    driver_module("fork_hooks").register()
    driver_module("identity").renew(native.random_bytes)
