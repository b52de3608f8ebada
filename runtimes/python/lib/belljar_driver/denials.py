"""Reports accesses that the program attempted and its policy does not grant, to the supervisor and
in the message of an uncaught error.

The kernel refuses the access. This module only watches, through Python's audit events, and never
changes the effect of a call. The number of reports is bounded, and each missing grant is
reported once.
"""

from belljar_driver import originals as __builtins__

import sys
from posix import O_CREAT, O_RDWR, O_TRUNC, O_WRONLY, fspath, getcwd, getpid

from belljar_driver.grants import Grants
from belljar_driver.native import DENIED
from belljar_driver.text import quote

MAX_DENIALS = 100
MAX_TARGET_CHARACTERS = 200
#: The number of recent attempts that are kept to explain an error.
_REMEMBERED = 20

_WRITING = O_WRONLY | O_RDWR | O_CREAT | O_TRUNC
_INET_FAMILIES = (2, 10)
_GENERIC_NETWORK = "*"
# No policy can name a host yet. Do not send the reader to ask for what will be refused.
_NO_NETWORK = "this version of Belljar gives programs no network, so pass the data in a file"

# Events about a path that is going to be changed, with the index of that argument.
_CHANGES = {
    "os.mkdir": 0, "os.remove": 0, "os.rmdir": 0, "os.truncate": 0, "os.chmod": 0, "os.rename": 1, "os.link": 1, "os.symlink": 1,
}  # fmt: skip


def _is_bytecode(path):
    """Returns whether a path is that of bytecode. Python tries to write it next to every file
    that it imports, and works without it."""
    return isinstance(path, str) and ("/__pycache__/" in path or path.endswith("/__pycache__"))


class Denial:
    """An attempted access: the action, its target, and the grant that would allow it."""

    def __init__(self, action, target, grant, hint):
        self.action = action
        self.target = target
        self.grant = grant
        self.hint = hint


class Watch:
    """Watches the accesses that one run attempts."""

    def __init__(self, policy, send_json):
        self.grants = Grants(policy)
        self.send_json = send_json
        self.reported = set()
        self.recent = []
        self.looked_up = None
        self.has_written_files = False
        self.process = getpid()

    # Attempts

    def open(self, arguments):
        path, _, flags = arguments
        if flags & _WRITING and not _is_bytecode(path):
            self.has_written_files = True
            self.change(path)

    def change(self, path):
        path = absolute(path)
        if path is not None and not _is_bytecode(path) and not self.grants.may_write(path):
            self.report(write_denial(path))

    def look_up(self, host, port):
        if isinstance(host, (bytes, bytearray)):
            host = host.decode("ascii", "replace")
        if not host or self.grants.may_connect(host, port):
            return
        self.looked_up = (host, port)
        self.report(network_denial("net.resolve" if port is None else "net.connect", host, port))

    def socket(self, family):
        """Reports a refused socket. Its destination is not known yet, unless a name was looked
        up before."""
        if family in _INET_FAMILIES and not self.grants.has_network and self.looked_up is None:
            self.report(network_denial("net.connect", _GENERIC_NETWORK, None))

    def connect(self, address):
        if isinstance(address, tuple) and len(address) >= 2 and not self.grants.may_connect(address[0], address[1]):
            if self.looked_up is None or self.looked_up[1] != address[1]:
                self.report(network_denial("net.connect", address[0], address[1]))

    def bind(self, address):
        if isinstance(address, tuple) and len(address) >= 2 and not self.grants.has_network:
            target = f"{address[0] or '0.0.0.0'}:{address[1]}"
            self.report(Denial("net.listen", target, "loopback: true", f"listening on {target} is not granted; grant it with loopback: true"))

    def run(self, what):
        if not self.grants.may_exec:
            if isinstance(what, (list, tuple)):
                what = what[0]
            self.report(exec_denial(text_of(what)))

    # Reports

    def report(self, denial):
        self.recent.insert(0, denial)
        del self.recent[_REMEMBERED:]
        if denial.grant in self.reported or len(self.reported) >= MAX_DENIALS or getpid() != self.process:
            return
        self.reported.add(denial.grant)
        self.send_json(DENIED, {"action": denial.action, "target": denial.target, "grant": denial.grant})


def network_denial(action, host, port):
    port = port if isinstance(port, int) or isinstance(port, str) and port else None
    target = host if port is None else f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    target = target[:MAX_TARGET_CHARACTERS]
    if is_loopback(host):
        return Denial(action, target, "loopback: true", f"network access to {target} is not granted; grant it with loopback: true")
    if host == _GENERIC_NETWORK:
        hint = f"network access is not granted; {_NO_NETWORK}, or use the sandbox's own loopback with loopback: true"
        return Denial(action, target, 'net: ["HOST"]', hint)
    # A grant without a port means 443.
    wanted = host if port in (None, 443, "443", "https") else target
    grant = f"net: [{quote(wanted)}]"
    return Denial(action, target, grant, f"network access to {target} is not granted; {_NO_NETWORK}")


def exec_denial(what):
    return Denial("exec", what[:MAX_TARGET_CHARACTERS], "exec: true", "running programs is not granted; grant it with exec: true")


def write_denial(path):
    path = path[:MAX_TARGET_CHARACTERS]
    grant = f"fs.write: [{quote(path)}]"
    return Denial("fs.write", path, grant, f"writing to {path} is not granted; grant it with {grant}")


def read_denial(path):
    path = path[:MAX_TARGET_CHARACTERS]
    grant = f"fs.read: [{quote(path)}]"
    return Denial("fs.read", path, grant, f"reading {path} is not granted; grant it with {grant}")


def is_loopback(host):
    return host in ("localhost", "::1") or host.startswith("127.")


def text_of(value):
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value if isinstance(value, str) else text_of(fspath(value))


def absolute(path):
    """Returns the absolute path without `.` and `..`, or None for a descriptor. Links are
    resolved by the kernel alone."""
    if path is None or isinstance(path, int):
        return None
    path = text_of(path)
    parts = []
    for part in (path if path.startswith("/") else f"{getcwd()}/{path}").split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return "/" + "/".join(parts)


_HANDLERS = {
    "open": Watch.open,
    "socket.getaddrinfo": lambda watch, arguments: watch.look_up(arguments[0], arguments[1]),
    "socket.gethostbyname": lambda watch, arguments: watch.look_up(arguments[0], None),
    "socket.__new__": lambda watch, arguments: watch.socket(arguments[1]),
    "socket.connect": lambda watch, arguments: watch.connect(arguments[1]),
    "socket.bind": lambda watch, arguments: watch.bind(arguments[1]),
    "subprocess.Popen": lambda watch, arguments: watch.run(arguments[0]),
    "os.system": lambda watch, arguments: watch.run(arguments[0]),
    "os.exec": lambda watch, arguments: watch.run(arguments[0]),
    "os.posix_spawn": lambda watch, arguments: watch.run(arguments[0]),
    "os.fork": lambda watch, arguments: watch.run("fork"),
    "os.forkpty": lambda watch, arguments: watch.run("fork"),
    "pty.spawn": lambda watch, arguments: watch.run(arguments[0]),
    **{event: lambda watch, arguments, index=index: watch.change(arguments[index]) for event, index in _CHANGES.items()},
}
_handler_of = _HANDLERS.get

_watch = None


def install():
    """Installs the audit hook at boot. It cannot be removed, and does nothing until a run is
    watched."""
    sys.addaudithook(_hook)


def _hook(event, arguments):
    handler = _handler_of(event)
    if handler is not None and _watch is not None:
        try:
            handler(_watch, arguments)
        except Exception:
            # An exception here would abort the watched call.
            pass


def watch(policy, send_json):
    """Starts to watch one run."""
    global _watch
    _watch = Watch(policy, send_json)


def current():
    return _watch


def has_written_files():
    """Returns whether any file was opened for writing. A run that only computes opens none."""
    return _watch is None or _watch.has_written_files
