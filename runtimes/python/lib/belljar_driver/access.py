"""The content of the public modules `belljar` and `yepcode`. A process that the program started
with a fresh interpreter (`multiprocessing` with spawn) can import them too, and finds them
empty."""

from belljar_driver import originals as __builtins__

from belljar_driver.untouched import driver_module

_MappingProxy = type(type.__dict__)


class Run:
    """The current run: `id`, `deadline` (a datetime in UTC, or None) and `timeout_ms`."""

    def __init__(self, id=None, deadline=None, timeout_ms=None):
        self.id = id
        self.timeout_ms = timeout_ms
        self._deadline = deadline

    @property
    def deadline(self):
        if self._deadline is None:
            return None
        from datetime import datetime

        return datetime.fromisoformat(self._deadline.replace("Z", "+00:00"))

    def __repr__(self):
        return f"Run(id={self.id!r}, deadline={self._deadline!r}, timeout_ms={self.timeout_ms!r})"


class NotGranted:
    """A placeholder for a facility that the run's policy does not grant. Any use of it raises an
    error that explains how to grant it."""

    def __init__(self, name, grant):
        self.__dict__["_said"] = f"{name} is not granted; grant it with {grant}"

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        raise PermissionError(self._said)


class Environment:
    """`yepcode.env.NAME`: the variables as attributes and as items."""

    def __getattr__(self, name):
        from os import environ

        try:
            return environ[name]
        except KeyError:
            raise AttributeError(f"no environment variable {name}") from None

    def __getitem__(self, name):
        from os import environ

        return environ[name]

    def __contains__(self, name):
        from os import environ

        return name in environ

    def get(self, name, default=None):
        from os import environ

        return environ.get(name, default)


class Record:
    """An object with fixed attributes."""

    def __init__(self, **values):
        self.__dict__.update(values)


parameters = {}
env = _MappingProxy({})
secrets = _MappingProxy({})
run = Run()
storage = NotGranted("storage", 'storage: {"read": ["PREFIX"], "write": ["PREFIX"]}')
_yepcode_storage = storage
_display = None


def display(value, type=None):
    """Shows a value next to the run's result: an image, a table, a document. Returns nothing.

    `type` is the MIME type of a str or bytes from which it does not follow.
    """
    if _display is None:
        raise RuntimeError("display() works in the process of the run, not in one that it started")
    _display().display(value, type)


def display_within(value, type=None):
    """Shows a value like `display`, but leaves it out with a note if the run's output has no
    room for it."""
    if _display is None:
        raise RuntimeError("display() works in the process of the run, not in one that it started")
    _display().display_within(value, type)


def show_figures():
    """Implements `plt.show()`. In a process that the program started there is no caller to show
    figures to."""
    if _display is not None:
        _display().put_open_figures()


def show_figure(figure):
    """Shows a figure that the program has finished or displayed."""
    if _display is not None:
        _display().put_figure_unasked(figure)


def add_display():
    """Makes `display` a builtin, as in notebooks."""
    import builtins

    def display(*objs, **keywords):
        return driver_module("notebook").display(*objs, **keywords)

    builtins.display = display


def activate(activation, displays, open_call):
    """Fills the public modules with the data of this run."""
    global parameters, env, run, storage, _yepcode_storage, _display
    given = activation["run"]
    parameters = activation["parameters"] if activation["parameters"] is not None else {}
    env = _MappingProxy(dict(activation["env"] or {}))
    run = Run(given["id"], given["deadline"], given["timeout_ms"])
    _display = displays
    granted = activation["policy"]["storage"]
    if granted["read"] or granted["write"]:
        # Loaded before the program can change the modules that it uses, and only if it is granted,
        # because it costs time and memory.
        storage_module = driver_module("storage")
        storage = storage_module.Storage(open_call)
        _yepcode_storage = storage_module.Storage(open_call, storage_module.yepcode_named)


def belljar():
    """Returns the module for the global `belljar`, so that a program need not import it."""
    return Record(display=display, env=env, parameters=parameters, run=run, secrets=secrets, storage=storage)


def yepcode():
    """Returns the same functions under the names of YepCode, for code that was written for it."""
    return Record(
        context=Record(parameters=parameters, request=Record(headers={}, body=None, query={})),
        env=Environment(),
        execution=Record(id=run.id, comment=None, process=None, schedule=None),
        storage=_yepcode_storage,
        datastore=NotGranted("datastore", 'storage: {"read": ["PREFIX"], "write": ["PREFIX"]}'),
        processes=NotGranted("starting other programs", "a server: `belljar serve`"),
    )


def logger():
    """Returns a logger whose records become log entries of the same level."""
    import logging
    import sys

    made = logging.getLogger("yepcode")
    if not made.handlers:
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(logging.Formatter("%(message)s"))
        made.addHandler(handler)
        made.setLevel(logging.DEBUG)
        made.propagate = False
    return made
