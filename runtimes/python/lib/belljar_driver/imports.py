"""What the files of a program import, found in their syntax trees, and the packages that their comments and their calls of pip add. Nothing of them is
run: this is the other thing that a sandbox can be activated for, and all that it then does."""

from belljar_driver import originals as __builtins__

import _ast as ast
from gc import disable
from posix import scandir

from belljar_driver.untouched import driver_module

_FLAGS = 0x2400  # ast.PyCF_ONLY_AST, ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
_TRIES = (ast.Try, ast.TryStar) if hasattr(ast, "TryStar") else (ast.Try,)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
#: What statements can be found in.
_STATEMENTS = (ast.stmt, ast.excepthandler, ast.match_case)
#: Handlers of these go on where an import fails.
_CATCHES_IMPORT_ERROR = {"ImportError", "ModuleNotFoundError", "Exception", "BaseException"}
_IMPORTING = {"import_module", "__import__"}
_ADDITION = "@add-package"
#: What a file without an import can hold that installs packages all the same.
_INSTALLERS = (b"pip", b"conda ", b"uv ", b"easy_install")


def load():
    """Makes the tokenizer compile its patterns, which takes 5 ms: a zygote does that for all its sandboxes."""
    # A line of nothing but a comment would not need them.
    list(_additions(b"name  # comment"))
    for name in ("habits", "installs", "install_calls", "reached"):
        driver_module(name)


def find(home):
    """What all files beneath a folder import, `{"imports": {name: is_optional}, "additions": [text], "sure": [name]}`."""
    # The process ends with this, and trees have no cycles.
    disable()
    # What the compiler warns of, the run will tell. No code of the program's has run here, so that any import finds the standard library.
    import warnings

    warnings.simplefilter("ignore")
    imports, additions, sure = {}, set(), set()
    for path in _files(home):
        with open(path, "rb") as file:
            source = file.read()
        try:
            found, added, reached = _in_source(source)
        except Exception:
            # It does not parse, or nests deeper than the parser goes: the run will tell.
            continue
        for name, is_optional in found:
            imports[name] = imports.get(name, True) and is_optional
        additions.update(added)
        sure.update(reached)
    if additions:
        # What it wants of pip is to install these.
        imports = {name: is_optional for name, is_optional in imports.items() if name.partition(".")[0] != "pip"}
    return {"imports": imports, "additions": [*additions], "sure": [*sure]}


def _files(folder):
    folders = [folder]
    while folders:
        with scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                else:
                    yield entry.path


def _in_source(source):
    adds = _ADDITION.encode() in source
    installs = any(word in source for word in _INSTALLERS)
    # A tree is large: of data that happens to be Python, none is made.
    if not adds and not installs and b"import" not in source:
        return [], [], []
    source, tree, added = _parsed(source)
    if adds:
        added += _additions(source)
    if installs:
        added += driver_module("install_calls").packages(tree)
    calls = b"import_module" in source or b"__import__" in source
    return [*_imports(tree, ast.AST if calls else _STATEMENTS)], added, driver_module("reached").imports(tree)


def _parsed(source):
    """The text, its tree, and the packages that its lines ask for: of a notebook's text, what is left without its habits."""
    habits = driver_module("habits")
    try:
        tree = compile(source, "<program>", "exec", _FLAGS, True)
        if not habits.has_prompts(source):
            return source, tree, []
    except SyntaxError:
        pass
    plain = habits.plain(source)
    if plain is None:
        raise SyntaxError("no Python, and nothing that can be made Python")
    return plain.source, compile(plain.source, "<program>", "exec", _FLAGS, True), [*plain.packages]


def _imports(tree, looked_into):
    """Every module that a tree imports, and whether the program goes on without it. Without recursion: a tree can be deep."""
    waiting = [(tree, False)]
    while waiting:
        node, is_optional = waiting.pop()
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, is_optional
        elif isinstance(node, ast.ImportFrom):
            if not node.level:
                yield node.module, is_optional
        elif isinstance(node, ast.Call) and (name := _imported_by(node)) is not None:
            yield name, is_optional
        left_out = _left_out(node)
        for field in node._fields:
            if field in left_out:
                continue
            value = getattr(node, field, None)
            is_tried = field == "body" and isinstance(node, _TRIES) and _goes_on(node.handlers)
            # A function that is defined inside of `try` is mostly called outside of it.
            inside = is_tried or is_optional and not isinstance(node, _FUNCTIONS)
            for child in value if isinstance(value, list) else (value,):
                if isinstance(child, looked_into):
                    waiting.append((child, inside))


def _goes_on(handlers):
    for handler in handlers:
        caught = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
        if any(kind is None or _last_name(kind) in _CATCHES_IMPORT_ERROR for kind in caught):
            return True
    return False


def _last_name(node):
    """`b` of `b` and of `a.b`."""
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else None


def _left_out(node):
    """Which fields of a node never run: those for type checkers."""
    if not isinstance(node, ast.If):
        return ()
    if _last_name(node.test) == "TYPE_CHECKING":
        return ("body",)
    if isinstance(node.test, ast.UnaryOp) and isinstance(node.test.op, ast.Not) and _last_name(node.test.operand) == "TYPE_CHECKING":
        return ("orelse",)
    return ()


def _imported_by(call):
    if _last_name(call.func) not in _IMPORTING:
        return None
    given = [*call.args[:1], *[keyword.value for keyword in call.keywords if keyword.arg == "name"]]
    name = given[0].value if given and isinstance(given[0], ast.Constant) else None
    # A relative one begins with a dot.
    is_module = isinstance(name, str) and all(part.isidentifier() for part in name.split("."))
    return name if is_module else None


def _additions(source):
    import tokenize

    for token in tokenize.tokenize(iter(source.splitlines(keepends=True)).__next__):
        if token.type == tokenize.COMMENT:
            word, *added = token.string.lstrip("#! \t").split(None, 1)[:2] or [""]
            if word == _ADDITION and added:
                yield added[0].rstrip()
