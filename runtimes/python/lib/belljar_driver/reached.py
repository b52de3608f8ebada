"""The imports that a program certainly executes, whatever its input is: these are worth
importing in advance. An import that runs only in some cases may be unwanted."""

from belljar_driver import originals as __builtins__

import _ast as ast

_TRIES = (ast.Try, ast.TryStar) if hasattr(ast, "TryStar") else (ast.Try,)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def imports(tree):
    found, waiting = set(), [tree.body]
    while waiting:
        for statement in waiting.pop():
            if isinstance(statement, ast.Import):
                found.update(alias.name for alias in statement.names)
            elif isinstance(statement, ast.ImportFrom):
                if not statement.level:
                    found.add(statement.module)
            elif isinstance(statement, (*_TRIES, ast.With, ast.AsyncWith)) or _is_guard(statement) or _is_main(statement, tree):
                waiting.append(statement.body)
    return found


def _is_guard(statement):
    """Returns whether a statement is `if __name__ == "__main__":`."""
    test = statement.test if isinstance(statement, ast.If) else None
    return isinstance(test, ast.Compare) and isinstance(test.left, ast.Name) and test.left.id == "__name__"


def _is_main(statement, tree):
    return isinstance(statement, _FUNCTIONS) and statement.name == "main" and statement in tree.body
