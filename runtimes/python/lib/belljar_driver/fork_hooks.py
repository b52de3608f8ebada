"""What modules want done around a fork (`os.register_at_fork`), held back while a zygote forks sandboxes.

They mend what a fork at an arbitrary moment may break: locks that another thread held, random state that two processes would share. A
zygote has one thread, holds no lock while it forks, and identity.py renews what is drawn from. To have them run all the same made each
sandbox write to 190 pages (measured: 256 page faults of a fork that does nothing, instead of 66). For forks of the program's own each
sandbox registers them as they would have been.
"""

from belljar_driver import originals as __builtins__

import posix
from posix import register_at_fork

_held = []


def hold_back():
    """From here on registrations are noted only. Returns what ends that."""
    import os

    posix.register_at_fork = os.register_at_fork = _note

    def end():
        posix.register_at_fork = os.register_at_fork = register_at_fork

    return end


def _note(**hooks):
    _held.append(hooks)


def register():
    """Registers what was held back, in a process that is to behave as any other."""
    for hooks in _held:
        register_at_fork(**hooks)
    _held.clear()
