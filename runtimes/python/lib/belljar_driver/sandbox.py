"""The life of one sandbox, from the forked and jailed process to its last frame: it runs a program, or says what one imports."""

from belljar_driver import originals as __builtins__

import sys
from posix import _exit, getpid
from sys import modules

from belljar_driver import HOME, access, after_import, convert, denials, ending, environment, errors, streams
from belljar_driver.native import FINISHED
from belljar_driver.program import Program
from belljar_driver.text import decode_json
from belljar_driver.untouched import driver_module


def load_everything():
    """Imports what is otherwise imported when it is first needed; a zygote does it once for all."""
    for name in ("call", "fork_hooks", "hints", "identity", "imports", "notes", "rich", "source", "storage"):
        driver_module(name)
    errors.load()
    driver_module("imports").load()


def prepare(native, packages=None):
    """What needs no activation: done at boot, and in a zygote once for all its sandboxes."""
    streams.install(native.annotate)
    environment.prepare(packages)
    after_import.call("matplotlib.pyplot", _take_over_matplotlib)
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
        self._notes = None

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
            ending.settle(self.activation["finish"])
        finally:
            # Whatever the program did to this process, its outcome is told.
            self._finish(value, told, exit_code)

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
        program = Program(entry, module, activation["parameters"], self.note)
        self._open_access(program.source, module)
        denials.watch(activation["policy"], self.send_json)
        return program

    def _open_access(self, source, module):
        access.activate(self.activation, lambda: driver_module("rich").Display(self.send, self.limit), self._open_call)
        if b"pip" in source or b"conda" in source:
            driver_module("installs").stand_in(self.note, after_import)
        # Only for a program that says those names: the globals of any other stay as Python leaves them.
        if b"get_ipython" in source and driver_module("habits").expects_ipython(source):
            driver_module("habits").provide_get_ipython(module, self.note)
        if b"belljar" in source:
            module.belljar = access.belljar()
        if b"yepcode" in source:
            module.yepcode = access.yepcode()

    def value_of(self, program):
        """Runs the program and converts its value, as soon as it is settled."""
        value = program.run()
        if getpid() != self.process:
            return b"null"
        value = self._without_displayed(value, program)
        if "matplotlib.pyplot" in modules:
            access.show_figures()
        if value is None:
            return b"null"
        try:
            return convert.to_json(value, self.limit)
        except convert.ResultNotSerializable as failure:
            if failure.path != "$" or not driver_module("rich").has_picture(value):
                raise
        access.display(value)
        return b"null"

    def _without_displayed(self, value, program):
        """A value that is there to be looked at is displayed instead of returned."""
        if value is None or type(value).__module__ == "builtins" and not isinstance(value, (list, tuple)):
            return value
        rich = driver_module("rich")
        if rich.figure_of(value) is not None and not isinstance(value, (list, tuple)):
            access.display(value)
            return None
        if program.is_last_expression and rich.is_by_product(value):
            return None
        return value

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

    def note(self, text):
        """A fact for the writer of the program."""
        if self._notes is None:
            self._notes = driver_module("notes").Notes(self.send)
        self._notes.add(text)

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


def _take_over_matplotlib(pyplot):
    from belljar_driver import matplotlib_backend

    matplotlib_backend.take_over(pyplot)
