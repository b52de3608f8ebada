"""The life of one sandbox, from the forked and jailed process to its last frame: it runs a program, or says what one imports."""

from belljar_driver import originals as __builtins__

import sys
from posix import _exit, getpid
from sys import modules

from belljar_driver import HOME, access, after_import, convert, denials, ending, environment, errors, streams, warned
from belljar_driver.native import FINISHED, MAX_SETTLED, SETTLED
from belljar_driver.notes import Notes
from belljar_driver.program import Program
from belljar_driver.text import decode_json
from belljar_driver.untouched import driver_module


#: Libraries that would show things in a window, by the module whose import says that a program uses them: functions of libraries.py.
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
#: Imported when they are first needed, and in advance by a zygote.
_SELDOM_NEEDED = """
    bounded_repr call figures fork_hooks hints identity imports kinds libraries notebook references rich source storage tables
"""


def load_everything():
    """Imports what is otherwise imported when it is first needed; a zygote does it once for all."""
    for name in _SELDOM_NEEDED.split():
        driver_module(name)
    errors.load()
    driver_module("imports").load()


def prepare(native, packages=None):
    """What needs no activation: done at boot, and in a zygote once for all its sandboxes."""
    streams.install(native.annotate)
    environment.prepare(packages)
    for module, function in _TAKE_OVER.items():
        after_import.call(module, lambda imported, function=function: getattr(driver_module("libraries"), function)(imported))
    access.add_display()
    warned.hide_driver()
    denials.install()


def live(native, is_forked, packages=None, home=HOME):
    """Waits for the activation, does what it says, reports and leaves the process. `packages` is the environment that is still to be entered."""
    if is_forked:
        _take_identity(native)
    if packages is not None:
        # An init is number 1 where processes may be started, and packages look at what they find when they are imported.
        if getpid() != 1:
            environment.expect_exec()
        driver_module("packages").enter(packages)
    activation = decode_json(native.receive())
    sandbox = Sandbox(native, activation, home)
    if activation["task"] == "find_imports":
        sandbox.find_imports()
    else:
        sandbox.live()


def _take_identity(native):
    driver_module("fork_hooks").register()
    driver_module("identity").renew(native.random_bytes)


class Sandbox:
    """One activated sandbox. Only its own process speaks for it: a forked child of the program has its own PID and no voice."""

    def __init__(self, native, activation, home):
        self.activation = activation
        self.home = home
        self.limit = activation["limits"]["result_bytes"]
        self.process = getpid()
        self._send = native.send
        self._exit = native.exit
        self._open_call = native.open_call
        self.notes = Notes(self.send)
        self._display = None
        self._settled_sent = 0

    def live(self):
        program = self.prepare()
        value, error, exit_code = b"null", None, None
        try:
            value = self.value_of(program)
        except SystemExit as exit:
            exit_code = exit_code_of(exit)
        except BaseException as failure:
            error = failure
        if getpid() != self.process:
            self._leave_child(error, exit_code)
        told = None if error is None else self._describe(error, program)
        error = None
        try:
            self._settle(program, value, told, exit_code)
        finally:
            # Whatever the program did to this process, its outcome is told.
            self._finish(value, told, exit_code)

    def _settle(self, program, value, told, exit_code):
        """Waits for what is still open. A limit may strike meanwhile: the supervisor keeps what there is until then."""
        waits = self.activation["finish"] != "settled"
        pending = ending.pending(self.home) if waits else []
        if pending:
            self._send_settled(value, pending)
            if told is not None:
                self.notes.add(f"the program had failed already, and waited for what it had started: {told['name']}: {told['message']}")
        ending.settle(self.activation["finish"])
        if waits and told is None and exit_code is None and program.main_was_left_alone():
            self.notes.add(
                f"`main` was not called: line {program.starts_main_at} of the program refers to it and was expected to start it, but never did"
            )

    def _send_settled(self, value, pending):
        self._settled_sent += 1
        self.send(SETTLED, b'{"value": ' + value + b', "pending": ' + json_of(pending) + b"}")

    def _keep_result(self, value):
        """A result that is there while asyncio still waits for tasks and threads of its loop."""
        try:
            pending = ending.pending_in_loop(self.home)
            has_room = self._settled_sent < MAX_SETTLED - 1
            if pending and has_room and getpid() == self.process and not hasattr(type(value), "__next__"):
                self._send_settled(convert.to_json(value, self.limit), pending)
        except Exception:
            # No result is kept that cannot be converted; the end of the run says why, if it comes to that.
            pass

    def find_imports(self):
        """Reports what the program's files import, and runs nothing of them."""
        value, told = b"null", None
        try:
            value = convert.to_json(driver_module("imports").find(self.home), self.limit)
        except Exception as failure:
            told = errors.describe(failure)
        self._finish(value, told, None)

    def prepare(self):
        activation = self.activation
        streams.begin()
        entry, module = environment.enter(activation, self.home)
        if activation["seed"] is not None:
            driver_module("identity").repeat(activation["seed"])
        packages = modules.get("belljar_driver.packages")
        if packages is not None:
            packages.begin()
        program = Program(entry, module, activation["parameters"], self._keep_result, self.notes.add)
        self._open_access(program.source, module)
        denials.watch(activation["policy"], self.send_json)
        return program

    def _open_access(self, source, module):
        access.activate(self.activation, self.display, self._open_call)
        if b"pip" in source or b"conda" in source:
            driver_module("installs").stand_in(self.notes.add, after_import)
        # Only for a program that says those names: the globals of any other stay as Python leaves them.
        if b"get_ipython" in source and driver_module("habits").expects_ipython(source):
            driver_module("habits").provide_get_ipython(module, self.notes.add)
        if b"belljar" in source:
            module.belljar = access.belljar()
        if b"yepcode" in source:
            module.yepcode = access.yepcode()

    def display(self):
        """Where rich results go."""
        if self._display is None:
            limits = self.activation["limits"]
            self._display = driver_module("rich").Display(self.send, self.notes.add, self.limit, limits["output_bytes"])
        return self._display

    def value_of(self, program):
        """Runs the program and converts its value, as soon as it is settled."""
        value = program.run()
        if getpid() != self.process:
            return b"null"
        if program.is_last_expression:
            return self._json_of_last(value)
        if "matplotlib.pyplot" in modules:
            access.show_figures()
        return b"null" if value is None else self._json_of_handed_over(value)

    def _json_of_handed_over(self, value):
        """The JSON of what `main` or `return` gave, which fails the run where there is none; a picture is displayed instead."""
        try:
            return convert.to_json(value, self.limit)
        except convert.ResultNotSerializable as failure:
            if failure.path != "$" or not driver_module("rich").has_picture(value):
                raise
        figures = driver_module("figures")
        figure = figures.figure_of(value)
        if figure is None or not figures.was_shown(figure):
            access.display(value)
        return b"null"

    def _json_of_last(self, value):
        """The JSON of the last expression, null where it has none. Nobody chose to hand it over, so it does not fail a run."""
        text, failure = b"null", None
        try:
            text = convert.to_json(value, self.limit, is_handed_over=False)
        except Exception as raised:
            failure = raised
        if "matplotlib.pyplot" in modules:
            access.show_figures()
        if failure is not None or type(value).__module__ != "builtins":
            self.display().put_last(value, failure)
        return text

    def _describe(self, error, program):
        told = errors.describe(error, program.source, program.path)
        try:
            hints = driver_module("hints")
            run = hints.Run(denials.current(), self.activation["limits"], self.home, program.source)
            denial = hints.explain(error, run)
            if denial is not None:
                hints.add_to(told, denial)
        except Exception:
            # The hint is a courtesy; the error is told with or without it.
            pass
        self._call_excepthook(error)
        return told

    def _call_excepthook(self, error):
        """Only one that the program has set: Python's own would print what the outcome tells."""
        try:
            if sys.excepthook is not sys.__excepthook__:
                error.__traceback__ = errors.visible(error.__traceback__)
                sys.excepthook(type(error), error, error.__traceback__)
        except BaseException:
            pass

    def _leave_child(self, error, exit_code):
        """A process that the program forked and that came to the program's end: it ends as any Python would."""
        if error is not None:
            sys.__excepthook__(type(error), error, error.__traceback__)
            exit_code = 1
        ending.settle("idle")
        _exit(exit_code or 0)

    def _finish(self, value, error, exit_code):
        told = b"null" if error is None else json_of(error)
        asked = b"null" if exit_code is None else str(exit_code).encode()
        self._send(FINISHED, b'{"value": ' + value + b', "error": ' + told + b', "exit_code": ' + asked + b"}")
        self._exit(exit_code if exit_code is not None else 0 if error is None else 1)

    def send(self, kind, data):
        """One frame, from the sandbox's own process only."""
        if getpid() == self.process:
            self._send(kind, data)

    def send_json(self, kind, value):
        self.send(kind, json_of(value))


def json_of(value):
    """The driver's own values as JSON: they are plain, and bounded where they are made."""
    return convert.to_json(value, 1 << 40)


def exit_code_of(exit):
    """What `sys.exit` asked for; a message goes to stderr and means 1, as Python has it."""
    code = exit.code
    if code is None:
        return 0
    if isinstance(code, int):
        return int(code) & 0xFF
    try:
        print(code, file=sys.stderr)
    except BaseException:
        pass
    return 1
