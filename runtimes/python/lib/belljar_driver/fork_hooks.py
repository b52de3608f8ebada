"""Defers the fork hooks of modules (`os.register_at_fork`) while a zygote forks sandboxes.

The hooks repair what a fork at an arbitrary moment may break: locks that another thread held,
and random state that two processes would share. A zygote has one thread, holds no lock while it
forks, and identity.py reseeds the random generators. Running the hooks nevertheless made each
sandbox write to 190 pages (measured: 256 page faults for a fork that does nothing, instead of
66). Each sandbox registers them as usual for the program's own forks.
"""

from belljar_driver import originals as __builtins__

import posix
from posix import register_at_fork

_held = []


def hold_back():
    """Only records registrations from now on. Returns a function that ends this."""
    import os

    posix.register_at_fork = os.register_at_fork = _note

    def end():
        posix.register_at_fork = os.register_at_fork = register_at_fork

    return end


def _note(**hooks):
    _held.append(hooks)


def register():
    """Registers the deferred hooks, in a process that is to behave like any other."""
    for hooks in _held:
        register_at_fork(**hooks)
    _held.clear()
