"""One execution in a sandbox: it runs a program, or finds the imports of one, and reports. The
process around it is in session.py."""

from belljar_driver import originals as __builtins__

import sys
from posix import _exit, getpid
from sys import modules

from belljar_driver import access, after_import, convert, denials, ending, environment, errors, streams
from belljar_driver.native import MAX_SETTLED, SETTLED
from belljar_driver.notes import Notes
from belljar_driver.program import Program
from belljar_driver.untouched import driver_module


class Execution:
    """One execution. Only the sandbox's own process reports: a forked child of the program has its
    own process id and sends nothing."""

    def __init__(self, native, activation, home):
        self.id = native.execution()
        self.activation = activation
        self.home = home
        self.limit = activation["limits"]["result_bytes"]
        self.process = getpid()
        self._send = native.send
        self._end = native.end
        self._exit = native.exit
        self._open_call = native.open_call
        self.notes = Notes(self.send)
        self._display = None
        self._settled_sent = 0

    def run(self):
        """Runs the program, reports and exits."""
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
        described = None if error is None else self._describe(error, program)
        error = None
        try:
            self._settle(program, value, described, exit_code)
        finally:
            # The outcome is reported, whatever the program did to this process.
            self._finish(value, described, exit_code)

    def _settle(self, program, value, error, exit_code):
        """Waits for threads and processes. If a limit ends the run meanwhile, the supervisor
        uses the frames that were already sent."""
        waits = self.activation["finish"] != "settled"
        pending = ending.pending(self.home) if waits else []
        if pending:
            self._send_settled(value, pending)
            if error is not None:
                self.notes.add(f"the program had failed already, and waited for what it had started: {error['name']}: {error['message']}")
        ending.settle(self.activation["finish"])
        if waits and error is None and exit_code is None and program.main_was_left_alone():
            self.notes.add(
                f"`main` was not called: line {program.starts_main_at} of the program refers to it and was expected to start it, but never did"
            )

    def _send_settled(self, value, pending):
        self._settled_sent += 1
        self.send(SETTLED, b'{"value": ' + value + b', "pending": ' + json_of(pending) + b"}")

    def _keep_result(self, value):
        """Sends a result that exists while asyncio still waits for tasks and threads of its
        loop."""
        try:
            pending = ending.pending_in_loop(self.home)
            has_room = self._settled_sent < MAX_SETTLED - 1
            if pending and has_room and getpid() == self.process and not hasattr(type(value), "__next__"):
                self._send_settled(convert.to_json(value, self.limit), pending)
        except Exception:
            # A result that cannot be converted is not sent; the end of the run reports why, if it
            # is reached.
            pass

    def find_imports(self):
        """Reports what the program's files import, without running any of them, and exits."""
        value, error = b"null", None
        try:
            value = convert.to_json(driver_module("imports").find(self.home), self.limit)
        except Exception as failure:
            error = errors.describe(failure)
        self._finish(value, error, None)

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
        access.activate(self.activation, self.display, self.open_call)
        if b"pip" in source or b"conda" in source:
            driver_module("installs").stand_in(self.notes.add, after_import)
        # Only for a program that contains these names. The globals of any other program stay as
        # Python leaves them.
        if b"get_ipython" in source and driver_module("habits").expects_ipython(source):
            driver_module("habits").provide_get_ipython(module, self.notes.add)
        if b"belljar" in source:
            module.belljar = access.belljar()
        if b"yepcode" in source:
            module.yepcode = access.yepcode()

    def display(self):
        """The destination of rich results."""
        if self._display is None:
            limits = self.activation["limits"]
            self._display = driver_module("rich").Display(self.send, self.notes.add, self.limit, limits["output_bytes"])
        return self._display

    def value_of(self, program):
        """Runs the program and converts its value as soon as it is available."""
        value = program.run()
        if getpid() != self.process:
            return b"null"
        if program.is_last_expression:
            return self._json_of_last(value)
        if "matplotlib.pyplot" in modules:
            access.show_figures()
        return b"null" if value is None else self._json_of_handed_over(value)

    def _json_of_handed_over(self, value):
        """Returns the JSON of a value from `main` or `return`. If it has none, the run fails,
        unless the value is a picture, which is displayed instead."""
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
        """Returns the JSON of the last expression, or null if it has none. The program did not
        return it explicitly, so it does not fail the run."""
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
        described = errors.describe(error, program.source, program.path)
        try:
            hints = driver_module("hints")
            run = hints.Run(denials.current(), self.activation["limits"], self.home, program.source)
            denial = hints.explain(error, run)
            if denial is not None:
                hints.add_to(described, denial)
        except Exception:
            # The error is reported with or without a hint.
            pass
        self._call_excepthook(error)
        return described

    def _call_excepthook(self, error):
        """Calls an excepthook that the program has set. Python's own would print what the outcome
        contains."""
        try:
            if sys.excepthook is not sys.__excepthook__:
                error.__traceback__ = errors.visible(error.__traceback__)
                sys.excepthook(type(error), error, error.__traceback__)
        except BaseException:
            pass

    def _leave_child(self, error, exit_code):
        """Ends a process that the program forked and that reached the end of the program, like
        any Python process."""
        if error is not None:
            sys.__excepthook__(type(error), error, error.__traceback__)
            exit_code = 1
        ending.settle("idle")
        _exit(exit_code or 0)

    def _finish(self, value, error, exit_code):
        error_json = b"null" if error is None else json_of(error)
        code_json = b"null" if exit_code is None else str(exit_code).encode()
        self._end(self.id, b'{"value": ' + value + b', "error": ' + error_json + b', "exit_code": ' + code_json + b"}")
        self._exit(exit_code if exit_code is not None else 0 if error is None else 1)

    def send(self, kind, data):
        """Sends one frame, only from the sandbox's own process."""
        if getpid() == self.process:
            self._send(self.id, kind, data)

    def open_call(self):
        """Returns the descriptor of a socket for one call, or None if too many are open."""
        return self._open_call(self.id)

    def send_json(self, kind, value):
        self.send(kind, json_of(value))


def json_of(value):
    """Returns values of the driver as JSON. They are plain, and bounded where they are created."""
    return convert.to_json(value, 1 << 40)


def exit_code_of(exit):
    """Returns the exit code of `sys.exit`. A message is written to stderr and means 1, as in
    Python."""
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
