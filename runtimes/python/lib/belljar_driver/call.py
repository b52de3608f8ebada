"""Chooses the arguments with which `main` is called, from the parameters of the run.

- A `main` without parameters is called without arguments.
- If the parameters of the run are an object and `main` names some of its keys, they are passed by
  name, provided that all required ones exist. Keys that `main` does not name are left out, unless
  it takes `**kwargs`.
- Otherwise, the first positional parameter receives the parameters of the run as a whole. If it has
  a default and the run has no parameters, it keeps the default.
"""

from belljar_driver import originals as __builtins__

_VARARGS, _VARKEYWORDS = 0x04, 0x08  # inspect.CO_VARARGS, inspect.CO_VARKEYWORDS
_Function = type(lambda: None)


def call_main(main, parameters):
    arguments, keywords = arguments_of(_signature(main), parameters)
    return main(*arguments, **keywords)


class Signature:
    """The parameters of a callable."""

    def __init__(self, positional, positional_only, required, keyword_only, varargs, varkeywords):
        self.positional = positional
        self.positional_only = positional_only
        self.required = required
        self.keyword_only = keyword_only
        self.varargs = varargs
        self.varkeywords = varkeywords


def arguments_of(signature, parameters):
    """Returns the positional and the keyword arguments for these parameters."""
    none_given = parameters is None or parameters == {}
    names = [name for name in signature.positional if name not in signature.positional_only] + signature.keyword_only
    if isinstance(parameters, dict) and all(name in parameters for name in signature.required):
        if signature.varkeywords and not signature.positional_only:
            return (), parameters
        named = {name: parameters[name] for name in names if name in parameters}
        if named:
            return (), named
    if none_given and not signature.required:
        return (), {}
    takes_whole = signature.varargs or len(signature.positional) == 1 or any(n in signature.required for n in signature.positional)
    return ((parameters,), {}) if takes_whole else ((), {})


def _signature(main):
    """Returns the signature, read from the code object: importing `inspect` costs a one-shot run
    10 ms, and it is only needed for other kinds of callables."""
    function, depth = main, 0
    while hasattr(function, "__wrapped__") and depth < 32:
        function, depth = function.__wrapped__, depth + 1
    if type(function) is not _Function:
        return _inspected_signature(main)
    code = function.__code__
    positional = code.co_varnames[: code.co_argcount]
    keyword_only = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
    defaults = len(function.__defaults__ or ())
    required = [*positional[: len(positional) - defaults]]
    required += [name for name in keyword_only if name not in (function.__kwdefaults__ or {})]
    return Signature(
        [*positional],
        positional[: code.co_posonlyargcount],
        required,
        [*keyword_only],
        bool(code.co_flags & _VARARGS),
        bool(code.co_flags & _VARKEYWORDS),
    )


def _inspected_signature(main):
    import inspect

    try:
        parameters = inspect.signature(main).parameters.values()
    except (TypeError, ValueError):
        return Signature([], (), [], [], False, False)
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    keyword_only = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    countable = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    return Signature(
        [p.name for p in positional],
        [p.name for p in positional if p.kind is p.POSITIONAL_ONLY],
        [p.name for p in countable if p.default is p.empty],
        keyword_only,
        any(p.kind is p.VAR_POSITIONAL for p in parameters),
        any(p.kind is p.VAR_KEYWORD for p in parameters),
    )
