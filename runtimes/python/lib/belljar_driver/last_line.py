"""The short way to a program's value, without its syntax tree: where the last statement is an expression that begins a line, that is compiled by itself.

Python makes the classes of the tree when it is first asked for one, and that costs a one-shot run 0.8 ms. Whatever is not as plain as that goes by source.py.
"""

from belljar_driver import originals as __builtins__

#: Global that holds the value of the last expression; exists only from its evaluation on.
VALUE = "__belljar_value__"

_FLAGS = 0x2000  # ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
_COROUTINE_CODE = 0x80  # inspect.CO_COROUTINE

# What source.py is for; what one part would have to tell the other; and what ends a line for the compiler but is not looked for here.
_NOT_PLAIN = (b"main", b"__future__", b"\r", b"\f", b"\0", b"\xef\xbb\xbf")
# What a line begins with that does not begin a statement of the program's own scope, at least none that is an expression.
_NO_BEGINNING = b" \t#\n)]}"


def compile_program(source, path):
    """The code of all but the last statement, and of that expression; None where it takes source.py to know.

    Both parts are complete to the compiler by themselves, and so they are what they are in the whole: a statement, a string or a bracket that went
    across the cut would leave its first part unfinished.
    """
    if any(part in source for part in _NOT_PLAIN) or any(b"coding" in line for line in source.split(b"\n", 2)[:2]):
        return None
    start = _last_beginning(source)
    if start is None:
        return None
    try:
        # First, for it is the one that fails where this is not the way, and what the compiler warns of it warns of once.
        expression = compile(b"\n" * source.count(b"\n", 0, start) + source[start:], path, "eval", _FLAGS, True)
        body = compile(source[:start], path, "exec", _FLAGS, True)
    except Exception:
        return None
    return None if (body.co_flags | expression.co_flags) & _COROUTINE_CODE else (body, expression)


def is_lambda(value, body, expression):
    """Whether a function is all that there is: the lambda that the expression makes, after nothing."""
    return value.__code__ in expression.co_consts and not body.co_names and set(body.co_consts) <= {None}


def _last_beginning(source):
    end = len(source)
    while end >= 0:
        start = source.rfind(b"\n", 0, end) + 1
        if source[start : start + 1] not in _NO_BEGINNING:
            return start
        end = start - 1
    return None
