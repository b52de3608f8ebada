"""Detects whether a program starts its `main` itself, now or later, from the references to that
name in the syntax tree.

A reference counts if the program can reach it and it calls `main` or passes it on: to a timer, a
thread, `atexit`, a decorator that registers it, or a table of commands. References do not count
inside `main` itself, in functions that nothing refers to, in the branch of a `__name__` guard
that is not taken, and if `main` is only inspected (`main.__doc__`, `callable(main)`).
"""

from belljar_driver import originals as __builtins__

import _ast as ast

MAIN = "main"

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
#: Calls that inspect their argument and do not keep it.
_ASKING = {"callable", "hasattr", "isinstance", "issubclass", "type", "id", "repr", "str", "print", "help", "bool", "dir", "vars", "hash"}
_ASKING_MODULES = {"inspect", "typing", "types", "dis"}
_NAMESPACES = {"globals", "locals", "vars"}


def line_that_starts_main(tree, statements):
    """Returns the line of the first reference by which the program starts `main`, or None if
    Belljar has to call it. `statements` are all statements of the module's own scope."""
    units, registers = {}, None
    imported = set()
    for statement in statements:
        if isinstance(statement, (ast.Import, ast.ImportFrom)):
            imported |= {alias.asname or alias.name.partition(".")[0] for alias in statement.names}
    for statement in statements:
        if isinstance(statement, (*_FUNCTIONS, ast.ClassDef)):
            registers_it = [decorator for decorator in statement.decorator_list if _registers(decorator, imported)]
            if statement.name == MAIN and registers_it:
                registers = registers or registers_it[0].lineno
            if statement.name != MAIN:
                units.setdefault(statement.name, []).append(statement)
        elif (alias := _alias_of_main(statement)) is not None:
            units.setdefault(alias, []).append(statement.value)
    if registers is not None:
        return registers
    return _first_start(tree, units)


def _first_start(tree, units):
    lines, reached, waiting = [], set(), [(tree, frozenset())]
    while waiting:
        node, hidden = waiting.pop()
        for name, line in _references(node, hidden, is_module=node is tree):
            if name == MAIN:
                lines.append(line)
            elif name in units and name not in reached:
                reached.add(name)
                waiting.extend((unit, frozenset()) for unit in units[name])
    return min(lines, default=None)


def _references(root, hidden, is_module):
    """Returns the global names that a piece of the program refers to, with their lines.
    Functions at the top level are pieces of their own."""
    waiting = [(root, hidden)]
    while waiting:
        node, hidden = waiting.pop()
        if isinstance(node, ast.Name):
            if isinstance(node.ctx, ast.Load) and node.id not in hidden:
                yield node.id, node.lineno
            continue
        if is_module and _alias_of_main(node) is not None:
            continue
        if is_module and isinstance(node, (*_FUNCTIONS, ast.ClassDef)) and node is not root:
            # A decorator may call the function at any time. A function without decorators needs a
            # reference.
            is_reached = bool(node.decorator_list) and node.name != MAIN
            waiting.extend((child, hidden) for child in _outside(node))
            if is_reached:
                yield from _references(node, hidden, is_module=False)
            continue
        if isinstance(node, (*_FUNCTIONS, ast.Lambda)):
            inner = hidden | _locals(node)
            waiting.extend((child, hidden) for child in _outside(node))
            waiting.extend((child, inner) for child in _body(node))
            continue
        if isinstance(node, _COMPREHENSIONS):
            hidden = hidden | _bound(node.generators)
        elif isinstance(node, ast.Call) and _names_main(node):
            yield MAIN, node.lineno
        elif isinstance(node, ast.Subscript) and _is_main_of_namespace(node):
            yield MAIN, node.lineno
        waiting.extend((child, hidden) for child in _children_that_count(node))


def _children_that_count(node):
    """Returns the children of a node that can start `main`: without code that never runs, and
    without references that only inspect `main`."""
    asked = ()
    if isinstance(node, ast.If):
        taken = _guard(node.test)
        if taken is not None:
            return node.body if taken else node.orelse
        asked = (node.test,)
    elif isinstance(node, ast.Call):
        asked = node.args if _only_asks(node.func) else ()
        if isinstance(node.func, ast.Attribute) and _is_main(node.func.value):
            # A method of `main` (`main.delay()`) may start it.
            return [node.func.value, *node.args, *node.keywords]
    elif isinstance(node, ast.Attribute):
        asked = (node.value,)
    elif isinstance(node, ast.Compare):
        asked = (node.left, *node.comparators)
    elif isinstance(node, ast.Expr):
        asked = (node.value,)
    elif isinstance(node, ast.UnaryOp):
        asked = (node.operand,)
    elif isinstance(node, ast.Assert):
        asked = (node.test,)
    return [child for child in _children(node) if not (child in asked and _is_main(child))]


def _is_main(node):
    return isinstance(node, ast.Name) and node.id == MAIN


def _only_asks(function):
    if isinstance(function, ast.Name):
        return function.id in _ASKING
    if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
        return function.value.id in _ASKING_MODULES or function.attr in ("iscoroutinefunction", "isfunction")
    return False


def _names_main(call):
    """Returns whether a call is `getattr(module, "main")`."""
    if not (isinstance(call.func, ast.Name) and call.func.id == "getattr" and len(call.args) > 1):
        return False
    return isinstance(call.args[1], ast.Constant) and call.args[1].value == MAIN


def _is_main_of_namespace(subscript):
    """Returns whether a subscript is `globals()["main"]`."""
    call = subscript.value
    is_namespace = isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in _NAMESPACES
    return is_namespace and isinstance(subscript.slice, ast.Constant) and subscript.slice.value == MAIN


def _alias_of_main(statement):
    """Returns the new name in `run = main` at the top level. The assignment is not a start until
    something refers to that name."""
    if not (isinstance(statement, ast.Assign) and len(statement.targets) == 1 and _is_main(statement.value)):
        return None
    target = statement.targets[0]
    return target.id if isinstance(target, ast.Name) and target.id != MAIN else None


def _registers(decorator, imported):
    """Returns whether a decorator passes the function to something that may call it later: a
    method of an object of the program (`@app.command()`, `@bot.event`), or `atexit.register`. A
    decorator of a module (`@functools.cache`) only wraps it."""
    function = decorator.func if isinstance(decorator, ast.Call) else decorator
    parts = []
    while isinstance(function, ast.Attribute):
        parts.append(function.attr)
        function = function.value
    if not isinstance(function, ast.Name):
        return False
    if parts[-1:] == ["register"] and function.id == "atexit":
        return True
    if not parts:
        return function.id == "register" and function.id in imported
    return function.id not in imported


def _guard(test):
    """Returns whether the body of an `if` runs, if the test alone decides it: `__name__ ==
    "__main__"`, `False`, `TYPE_CHECKING`."""
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        inner = _guard(test.operand)
        return None if inner is None else not inner
    if isinstance(test, ast.Constant):
        return bool(test.value)
    if isinstance(test, ast.Name) and test.id == "TYPE_CHECKING" or isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING":
        return False
    if not (isinstance(test, ast.Compare) and len(test.ops) == 1):
        return None
    sides = [test.left, test.comparators[0]]
    is_name = any(isinstance(side, ast.Name) and side.id == "__name__" for side in sides)
    texts = [side.value for side in sides if isinstance(side, ast.Constant)]
    if not is_name or not texts or not isinstance(test.ops[0], (ast.Eq, ast.NotEq)):
        return None
    return (texts[0] == "__main__") is isinstance(test.ops[0], ast.Eq)


# Scopes


def _outside(node):
    """Returns the parts of a function or class that are evaluated where it is defined."""
    if isinstance(node, ast.ClassDef):
        return [*node.decorator_list, *node.bases, *node.keywords]
    arguments = node.args
    defaults = [*arguments.defaults, *[default for default in arguments.kw_defaults if default is not None]]
    return [*getattr(node, "decorator_list", ()), *defaults]


def _body(node):
    return node.body if isinstance(node.body, list) else [node.body]


def _locals(function):
    """Returns the local names of a function: its parameters and the names that it binds, without
    those that it declares global."""
    arguments = function.args
    names = {argument.arg for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)}
    names |= {argument.arg for argument in (arguments.vararg, arguments.kwarg) if argument is not None}
    if isinstance(function, ast.Lambda):
        return frozenset(names)
    names |= _bound(function.body)
    return frozenset(names - _declared_global(function.body))


def _bound(nodes):
    """Returns the names that statements bind, without those of functions and classes inside
    them."""
    names, waiting = set(), [*nodes]
    while waiting:
        node = waiting.pop()
        if isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
            names.add(node.name)
            continue
        if isinstance(node, ast.Name):
            if not isinstance(node.ctx, ast.Load):
                names.add(node.id)
        elif isinstance(node, ast.alias):
            names.add(node.asname or node.name.partition(".")[0])
        elif isinstance(node, (ast.ExceptHandler, ast.MatchAs, ast.MatchStar)) and node.name:
            names.add(node.name)
        if not isinstance(node, (ast.Lambda, *_COMPREHENSIONS)):
            waiting.extend(_children(node))
    return names


def _declared_global(nodes):
    names, waiting = set(), [*nodes]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Global):
            names |= set(node.names)
        elif not isinstance(node, (*_FUNCTIONS, ast.ClassDef, ast.expr)):
            waiting.extend(_children(node))
    return names


def _children(node):
    for name in node._fields:
        value = getattr(node, name, None)
        if isinstance(value, ast.AST):
            yield value
        elif isinstance(value, list):
            for item in value:
                if isinstance(item, ast.AST):
                    yield item
