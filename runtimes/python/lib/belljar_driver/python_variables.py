"""Applies the variables that Python reads when it starts. The interpreter of a sandbox starts
before the variables of the run are known, so they are applied at the activation. The supervisor
refuses by name the variables for which this is not possible (crates/engine,
python_variables.rs)."""

from belljar_driver import originals as __builtins__

import sys


def apply(granted):
    for name, act in _ACTIONS.items():
        value = granted.get(name)
        if value:
            act(value)


def _warnings(value):
    import warnings

    options = [option for option in value.split(",") if option]
    sys.warnoptions.extend(options)
    warnings._processoptions(options)


def _faulthandler(_value):
    import faulthandler

    faulthandler.enable()


def _tracemalloc(value):
    import tracemalloc

    tracemalloc.start(int(value) if value.isdigit() else 1)


def _digits(value):
    if value.isdigit():
        sys.set_int_max_str_digits(int(value))


def _breakpoint(value):
    def hook(*arguments, **keywords):
        if value == "0":
            return None
        from importlib import import_module

        module, _, name = value.rpartition(".")
        return getattr(import_module(module or "builtins"), name)(*arguments, **keywords)

    sys.breakpointhook = hook


def _time_zones(_value):
    import zoneinfo

    zoneinfo.reset_tzpath()


def _streams(value):
    encoding, _, errors = value.partition(":")
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        stream.reconfigure(encoding=encoding or None, errors=errors or None)


def _cache_prefix(value):
    sys.pycache_prefix = value


_ACTIONS = {
    "PYTHONWARNINGS": _warnings,
    "PYTHONFAULTHANDLER": _faulthandler,
    "PYTHONTRACEMALLOC": _tracemalloc,
    "PYTHONINTMAXSTRDIGITS": _digits,
    "PYTHONBREAKPOINT": _breakpoint,
    "PYTHONTZPATH": _time_zones,
    "PYTHONIOENCODING": _streams,
    "PYTHONPYCACHEPREFIX": _cache_prefix,
}
