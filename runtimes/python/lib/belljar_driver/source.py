"""Turns the bytes of a program into code that records its result. All rewriting happens on the
syntax tree, so lines and columns stay the same.

- The last statement, if it is an expression, also stores its value (inside the last `if`, `with`,
  `try` or `match`, too). For the simplest of these no tree is needed, see last_line.py.
- A top-level `return` makes the whole program the body of a function whose every binding is
  declared global.
- A top-level `def main` records that it was called, and a top-level call of `main` records its
  result.
"""

from belljar_driver import originals as __builtins__

import _ast as ast

from belljar_driver import references
from belljar_driver.last_line import VALUE

#: The global that holds the program as a function, if it has a top-level `return`.
PROGRAM = "__belljar_program__"
#: The builtin that `main` calls first.
MAIN_BEGAN = "__belljar_main_began__"
#: The builtin through which the value of a top-level call of `main` passes.
MAIN_RETURNED = "__belljar_main_returned__"

_FLAGS = 0x2000  # ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
_ONLY_AST = 0x400  # ast.PyCF_ONLY_AST
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_SCOPES = (*_FUNCTIONS, ast.ClassDef, ast.Lambda)
_TRIES = (ast.Try, ast.TryStar) if hasattr(ast, "TryStar") else (ast.Try,)


class Facts:
    """Facts about a program's `main` and its value, found in its tree."""

    #: Whether the program records the calls and the result of its `main`.
    notes_main = False
    #: The line in which the program starts `main` itself, now or later.
    starts_main_at = None
    #: Whether the whole program is one lambda.
    is_lambda = False


def compile_program(source, path):
    """Returns the code of a program, and the facts of its tree. Raises SyntaxError with the
    compiler's own message if the program is invalid."""
    facts = Facts()
    try:
        tree = compile(source, path, "exec", _ONLY_AST | _FLAGS, True)
        mentions_main = b"main" in source
        if mentions_main:
            facts.starts_main_at = references.line_that_starts_main(tree, [*statements(tree.body)])
        facts.is_lambda = len(tree.body) == 1 and isinstance(tree.body[0], ast.Expr) and isinstance(tree.body[0].value, ast.Lambda)
        facts.notes_main = _rewrite(tree, mentions_main)
        return compile(tree, path, "exec", _FLAGS, True), facts
    except (RecursionError, MemoryError):
        return _compile_plainly(source, path), Facts()
    except ValueError as error:
        # The error "source code string cannot contain null bytes", which newer versions raise as a
        # SyntaxError themselves.
        raise SyntaxError(str(error), (path, 1, 1, None)) from None


def _compile_plainly(source, path):
    """Compiles a program without a tree. The compiler itself supports deeper nesting than the
    conversion of its tree to Python objects; such a program has no last value."""
    try:
        return compile(source, path, "exec", _FLAGS, True)
    except (RecursionError, MemoryError):
        raise SyntaxError("the program is nested too deeply to be compiled", (path, 1, 1, None)) from None


def _rewrite(tree, mentions_main):
    notes_main = False
    if mentions_main:
        for statement in statements(tree.body):
            if isinstance(statement, _FUNCTIONS) and statement.name == "main":
                _note_beginning(statement)
                notes_main = True
            elif not isinstance(statement, _SCOPES):
                notes_main |= _note_calls(statement)
    _store_last_value(tree.body)
    if any(isinstance(statement, ast.Return) for statement in statements(tree.body)):
        _make_function(tree)
    return notes_main


def statements(body):
    """Yields every statement of the program's own scope, at any depth of blocks. Bodies of
    functions and classes are other scopes."""
    for statement in body:
        yield statement
        if isinstance(statement, _SCOPES):
            continue
        for field in ("body", "orelse", "finalbody"):
            yield from statements(getattr(statement, field, None) or ())
        for branch in getattr(statement, "handlers", None) or getattr(statement, "cases", None) or ():
            yield from statements(branch.body)


def _children(node):
    for name in node._fields:
        value = getattr(node, name, None)
        if isinstance(value, ast.AST):
            yield value
        elif isinstance(value, list):
            for item in value:
                if isinstance(item, ast.AST):
                    yield item


def _at(node, like):
    """Sets the position of a new node, and of the new nodes in it, to that of the node that it
    replaces."""
    for child in _children(node):
        if not hasattr(child, "lineno"):
            _at(child, like)
    if "lineno" in node._attributes and not hasattr(node, "lineno"):
        node.lineno, node.col_offset = like.lineno, like.col_offset
        node.end_lineno, node.end_col_offset = like.end_lineno, like.end_col_offset
    return node


def _load(name):
    return ast.Name(name, ast.Load())


def _store(name, value, like):
    return _at(ast.Assign([ast.Name(name, ast.Store())], value, None), like)


# What main does


def _note_beginning(function):
    first = function.body[0]
    documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
    call = _at(ast.Expr(ast.Call(_load(MAIN_BEGAN), [], [])), first)
    function.body.insert(1 if documented else 0, call)


def _note_calls(statement):
    """Wraps every `main(...)` among the expressions of one statement. Returns whether there is
    any. Statements inside it are handled separately."""
    found, stack = False, [statement]
    while stack:
        node = stack.pop()
        for name in node._fields:
            value = getattr(node, name, None)
            if isinstance(value, ast.AST) and not isinstance(value, (ast.stmt, *_SCOPES)):
                if _is_main_call(value):
                    found = True
                    setattr(node, name, _noted(value))
                stack.append(value)
            elif isinstance(value, list):
                for index, item in enumerate(value):
                    if isinstance(item, ast.AST) and not isinstance(item, (ast.stmt, *_SCOPES, ast.ExceptHandler, ast.match_case)):
                        if _is_main_call(item):
                            found = True
                            value[index] = _noted(item)
                        stack.append(item)
    return found


def _is_main_call(node):
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "main"


def _noted(call):
    return _at(ast.Call(_load(MAIN_RETURNED), [call], []), call)


# The last value


def _store_last_value(body):
    """Turns the last expression of a block into an assignment, including the blocks that may be
    the last to run."""
    if not body:
        return
    last = body[-1]
    if isinstance(last, ast.Expr):
        body[-1] = _store(VALUE, last.value, last)
    elif isinstance(last, ast.If):
        _store_last_value(last.body)
        _store_last_value(last.orelse)
    elif isinstance(last, (ast.With, ast.AsyncWith)):
        _store_last_value(last.body)
    elif isinstance(last, _TRIES):
        _store_last_value(last.orelse or last.body)
        for handler in last.handlers:
            _store_last_value(handler.body)
    elif isinstance(last, ast.Match):
        for case in last.cases:
            _store_last_value(case.body)


# A top-level return


def _make_function(tree):
    body, preamble = tree.body, []
    while body and _must_stay_at_module_level(body[0]):
        preamble.append(body.pop(0))
    scope = _Scope()
    for statement in list(statements(body)):
        scope.add(statement)
    if scope.yields:
        # This statement is valid in a function, but the compiler rejects it in a module.
        tree.body = [*preamble, *body]
        return
    _make_global(body)
    names = scope.names | {VALUE}
    kind = ast.AsyncFunctionDef if scope.waits else ast.FunctionDef
    arguments = ast.arguments([], [], None, [], [], None, [])
    # The field `type_params` was added in 3.12. Older versions reject it, newer ones require it.
    extra = {"type_params": []} if "type_params" in kind._fields else {}
    function = kind(PROGRAM, arguments, [ast.Global(sorted(names)), *body], [], None, None, **extra)
    tree.body = [*preamble, _at(function, body[0])]


def _must_stay_at_module_level(statement):
    documentation = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    return documentation or isinstance(statement, ast.ImportFrom) and statement.module == "__future__"


class _Scope:
    """The names that the statements of the program's scope bind, and their effects there."""

    def __init__(self):
        self.names = set()
        self.waits = False
        self.yields = False

    def add(self, statement):
        """Adds one statement, without those inside it, which are added separately."""
        inside = [statement]
        if isinstance(statement, (*_FUNCTIONS, ast.ClassDef)):
            self.names.add(statement.name)
            inside = [*statement.decorator_list]
        self.waits |= isinstance(statement, (ast.AsyncFor, ast.AsyncWith))
        while inside:
            node = inside.pop()
            self._bind(node)
            self.waits |= isinstance(node, ast.Await)
            self.yields |= isinstance(node, (ast.Yield, ast.YieldFrom))
            if isinstance(node, (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)):
                self._add_comprehension(node)
            elif not isinstance(node, ast.Lambda):
                inside.extend(child for child in _children(node) if not isinstance(child, ast.stmt))

    def _bind(self, node):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            self.names.add(node.id)
        elif isinstance(node, ast.alias) and node.name != "*":
            self.names.add(node.asname or node.name.partition(".")[0])
        elif isinstance(node, (ast.ExceptHandler, ast.MatchAs, ast.MatchStar)) and node.name:
            self.names.add(node.name)
        elif isinstance(node, ast.MatchMapping) and node.rest:
            self.names.add(node.rest)

    def _add_comprehension(self, comprehension):
        """Adds a comprehension. Its own variables are local to it, but `:=` in it binds outside."""
        waits, inside = False, [comprehension]
        while inside:
            node = inside.pop()
            if isinstance(node, ast.NamedExpr):
                self.names.add(node.target.id)
            waits |= isinstance(node, ast.Await) or isinstance(node, ast.comprehension) and bool(node.is_async)
            if not isinstance(node, ast.Lambda):
                inside.extend(_children(node))
        self.waits |= waits and not isinstance(comprehension, ast.GeneratorExp)


def _make_global(body):
    """Replaces, in place, the statements that are valid in a module but not in a function."""
    for block in _blocks(body):
        for index, statement in enumerate(block):
            if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
                if statement.value is None:
                    block[index] = _at(ast.Pass(), statement)
                else:
                    block[index] = _at(ast.Assign([statement.target], statement.value, None), statement)
            elif isinstance(statement, ast.ImportFrom) and statement.names[0].name == "*":
                text = f"from {'.' * (statement.level or 0)}{statement.module or ''} import *"
                call = ast.Call(_load("exec"), [ast.Constant(text), ast.Call(_load("globals"), [], [])], [])
                block[index] = _at(ast.Expr(call), statement)
            elif isinstance(statement, ast.Global):
                block[index] = _at(ast.Pass(), statement)


def _blocks(body):
    yield body
    for statement in statements(body):
        if isinstance(statement, _SCOPES):
            continue
        for field in ("body", "orelse", "finalbody"):
            block = getattr(statement, field, None)
            if isinstance(block, list):
                yield block
        for branch in getattr(statement, "handlers", None) or getattr(statement, "cases", None) or ():
            yield branch.body
