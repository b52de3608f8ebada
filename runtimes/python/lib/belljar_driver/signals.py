"""Signals that a process sends to itself when it is PID 1, whose default actions the kernel leaves out."""

from belljar_driver import originals as __builtins__

import posix
from _signal import SIG_DFL, getsignal
from posix import getpid, kill as kill_process
from sys import modules

# Signals whose default action is not to end the process (signal(7)).
_SURVIVED = {17, 18, 19, 20, 21, 22, 23, 28}  # CHLD, CONT, STOP, TSTP, TTIN, TTOU, URG, WINCH
_KILL = 9


def emulate_default_actions(end):
    """Wraps `os.kill` where it has to be: a program that ends itself by a signal calls `end(128 + signal)`."""
    if getpid() != 1:
        return

    def kill(pid, signal, /):
        kill_process(pid, signal)
        # Children of the program see themselves under other numbers, and 0 only asks whether the process is there.
        if pid == 1 and getpid() == 1 and signal and signal not in _SURVIVED and (signal == _KILL or getsignal(signal) == SIG_DFL):
            end(128 + int(signal))

    kill.__doc__ = kill_process.__doc__
    # `os` takes it from there when it is imported.
    posix.kill = kill
    if "os" in modules:
        modules["os"].kill = kill
