"""The fast path to a program's value, without its syntax tree. If the last statement is an
expression that begins a line, it is compiled separately.

Python creates the classes of the syntax tree when the first one is used, which costs a one-shot
run 0.8 ms. Any less simple program is compiled by source.py.
"""

from belljar_driver import originals as __builtins__

#: The global that holds the value of the last expression. It exists only after the expression was
#: evaluated.
VALUE = "__belljar_value__"

_FLAGS = 0x2000  # ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
_COROUTINE_CODE = 0x80  # inspect.CO_COROUTINE

# Matches programs that need source.py, statements that one part would have to share with the other,
# and characters that end a line for the compiler but are not searched for here.
_NOT_PLAIN = (b"main", b"__future__", b"\r", b"\f", b"\0", b"\xef\xbb\xbf")
# Beginnings of lines that do not begin a statement of the program's own scope, or at least none
# that is an expression.
_NO_BEGINNING = b" \t#\n)]}"


def compile_program(source, path):
    """Returns the code of everything before the last statement, and of that expression. Returns
    None if source.py is needed.

    Each part compiles on its own, and therefore means the same as in the whole program: a
    statement, a string or a bracket that crossed the cut would leave the first part incomplete.
    """
    if any(part in source for part in _NOT_PLAIN) or any(b"coding" in line for line in source.split(b"\n", 2)[:2]):
        return None
    start = _last_beginning(source)
    if start is None:
        return None
    try:
        # The expression is compiled first, because it is the part that fails if this path is not
        # possible, and the compiler's warnings about it must appear once.
        expression = compile(b"\n" * source.count(b"\n", 0, start) + source[start:], path, "eval", _FLAGS, True)
        body = compile(source[:start], path, "exec", _FLAGS, True)
    except Exception:
        return None
    return None if (body.co_flags | expression.co_flags) & _COROUTINE_CODE else (body, expression)


def is_lambda(value, body, expression):
    """Returns whether the program consists only of the lambda that the expression creates."""
    return value.__code__ in expression.co_consts and not body.co_names and set(body.co_consts) <= {None}


def _last_beginning(source):
    end = len(source)
    while end >= 0:
        start = source.rfind(b"\n", 0, end) + 1
        if source[start : start + 1] not in _NO_BEGINNING:
            return start
        end = start - 1
    return None
