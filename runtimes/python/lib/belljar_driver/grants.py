"""Answers questions about the grants of a policy. The answers are only for messages; the kernel
decides what is allowed."""

from belljar_driver import originals as __builtins__

import sys
from posix import uname

from belljar_driver import HOME

# The sandbox's own writable trees, and the devices and files of its own processes.
_WRITABLE = (HOME, "/tmp", "/dev", "/proc")
# Trees that every sandbox has. A file that is missing there is really missing, not hidden.
_PRESENT = (*_WRITABLE, "/usr", "/lib", "/lib64", "/bin", "/sbin", "/sys", "/opt/belljar", sys.base_prefix, sys.prefix)


class Grants:
    def __init__(self, policy):
        files = policy.get("fs") or {}
        self.readable = tuple(files.get("read") or ())
        self.writable = tuple(files.get("write") or ())
        self.hosts = tuple(policy.get("net") or ())
        self.loopback = bool(policy.get("loopback")) or bool(self.hosts)
        self.may_exec = bool(policy.get("exec"))

    @property
    def has_network(self):
        return self.loopback

    def may_write(self, path):
        return _is_beneath(path, _WRITABLE) or _is_beneath(path, self.writable)

    def may_read(self, path):
        """Returns whether nothing is hidden from the program at the path."""
        return _is_beneath(path, _PRESENT) or _is_beneath(path, self.readable) or _is_beneath(path, self.writable)

    def may_connect(self, host, port):
        """Returns whether a connection is granted, as far as its name or address shows."""
        if not isinstance(host, str):
            return True
        host = host.rstrip(".").lower()
        if host in ("localhost", "::1", "", "0.0.0.0", "::") or host.startswith("127."):
            return self.loopback
        if host == uname().nodename.lower():
            return True
        return any(_matches(grant.lower(), host, port) for grant in self.hosts) or bool(self.hosts) and ":" in host or self._is_number(host)

    def _is_number(self, host):
        # With a granted network, an address comes from a look-up that the supervisor answered, so
        # the supervisor decides.
        return bool(self.hosts) and host.replace(".", "").isdigit()


def _is_beneath(path, folders):
    return any(path == folder or path.startswith(folder.rstrip("/") + "/") for folder in folders)


def _matches(grant, host, port):
    name, colon, wanted = grant.rpartition(":")
    if not colon or not wanted.isdigit():
        name, wanted = grant, ""
    if wanted and port is not None and str(port) != wanted:
        return False
    return name == host or name == "*" or name.startswith("*.") and host.endswith(name[1:])
