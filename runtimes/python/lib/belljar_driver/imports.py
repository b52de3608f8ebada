"""Finds the imports of a program's files in their syntax trees, the packages that their comments
and their calls of pip add, the modules that the program creates itself, and its uses of
packages. No code is run. A sandbox can be activated for this instead of for running a program,
and then does nothing else."""

from belljar_driver import originals as __builtins__

import _ast as ast
from gc import disable
from posix import scandir

from belljar_driver.untouched import driver_module

_FLAGS = 0x2400  # ast.PyCF_ONLY_AST, ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
_TRIES = (ast.Try, ast.TryStar) if hasattr(ast, "TryStar") else (ast.Try,)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
#: The syntax nodes that can contain statements.
_STATEMENTS = (ast.stmt, ast.excepthandler, ast.match_case)
#: Handlers of these exceptions catch a failed import.
_CATCHES_IMPORT_ERROR = {"ImportError", "ModuleNotFoundError", "Exception", "BaseException"}
_IMPORTING = {"import_module", "__import__"}
#: Calls that check whether a module exists, and calls whose first argument names a module that they
#: create.
_LOOKING = {"find_spec", "find_loader"}
_MAKING = {"ModuleType", "spec_from_file_location", "spec_from_loader"}
#: Words that indicate that a program creates modules in a way that its tree does not show. Each
#: name in its strings may then be one of them.
_OWN_FINDERS = (b"meta_path", b"path_hooks", b"__init__.py")
_ADDITION = "@add-package"
#: Maximum number of nodes of one file that are inspected for uses and created modules, and maximum
#: number of uses that are reported.
_MAX_NODES = 200_000
_MAX_USES = 4000
_MAX_TEXT = 64
#: Words in a file without an import that may install packages nevertheless.
_INSTALLERS = (b"pip", b"conda ", b"uv ", b"easy_install")


def load():
    """Makes the tokenizer compile its patterns, which takes 5 ms. A zygote does this for all its
    sandboxes."""
    # A line that is only a comment would not need them.
    list(_additions(b"name  # comment"))
    for name in ("habits", "installs", "install_calls", "reached"):
        driver_module(name)


def find(home):
    """What all files beneath a folder import and use, as lists of texts and one object:

    - `imports`: `{name: is_optional}`
    - `additions`: what follows `@add-package`
    - `sure`: what is imported in any case
    - `own`: names of modules that the program makes: it writes their files, or puts them into
      `sys.modules`
    - `uses`: `.name` for an attribute or an imported name, `"text"` for a short string, `*.ext` and
      `scheme://` for the end and beginning of one
    """
    # The process ends after this, and syntax trees have no cycles.
    disable()
    # Warnings of the compiler appear in the run itself. No code of the program has run here, so any
    # import finds the standard library.
    import warnings

    warnings.simplefilter("ignore")
    imports, additions, sure, own, uses = {}, set(), set(), set(), set()
    for path in _files(home):
        with open(path, "rb") as file:
            source = file.read()
        try:
            found, added, reached, made, used = _in_source(source)
        except Exception:
            # The file does not parse, or nests deeper than the parser allows. The run reports it.
            continue
        for name, is_optional in found:
            imports[name] = imports.get(name, True) and is_optional
        additions.update(added)
        sure.update(reached)
        own.update(made)
        uses.update(used)
    if additions:
        # The program imports pip to install these packages.
        imports = {name: is_optional for name, is_optional in imports.items() if name.partition(".")[0] != "pip"}
    own, uses = sorted(own)[:_MAX_USES], sorted(uses)[:_MAX_USES]
    return {"imports": imports, "additions": [*additions], "sure": [*sure], "own": own, "uses": uses}


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
    # A tree is large, so none is built for data that happens to be Python.
    if not adds and not installs and not any(word in source for word in (b"import", b".py", b"modules")):
        return [], [], (), (), ()
    source, tree, added = _parsed(source)
    if adds:
        added += _additions(source)
    if installs:
        added += driver_module("install_calls").packages(tree)
    calls = b"import_module" in source or b"__import__" in source
    imports = [*_imports(tree, ast.AST if calls else _STATEMENTS)]
    return imports, added, driver_module("reached").imports(tree), *_facts(tree, any(word in source for word in _OWN_FINDERS))


def _parsed(source):
    """Returns the text, its tree, and the packages that its lines name. A notebook's text is
    returned without its habits."""
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
    """Yields every module that a tree imports, and whether the program continues without it. Not
    recursive, because a tree can be deep."""
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
            is_tried = field == "body" and _is_tried(node)
            # A function that is defined inside of `try` is mostly called outside of it.
            inside = is_tried or is_optional and not isinstance(node, _FUNCTIONS)
            for child in value if isinstance(value, list) else (value,):
                if isinstance(child, looked_into):
                    waiting.append((child, inside))


def _is_tried(node):
    """Returns whether the program continues when an import in the body of this statement fails, or
    checks first whether it would."""
    if isinstance(node, _TRIES):
        return _catches(node.handlers)
    if isinstance(node, (ast.With, ast.AsyncWith)):
        return any(_suppresses(item.context_expr) for item in node.items)
    return isinstance(node, ast.If) and _looks_for(node.test, 4)


def _suppresses(context):
    is_call = isinstance(context, ast.Call) and _last_name(context.func) == "suppress"
    return is_call and any(_last_name(kind) in _CATCHES_IMPORT_ERROR for kind in context.args)


def _looks_for(test, depth):
    """Returns whether a condition checks that a module exists: `find_spec("a")`, `"a" in
    sys.modules`, also negated or combined."""
    if isinstance(test, ast.Call):
        return _last_name(test.func) in _LOOKING
    if isinstance(test, ast.Compare):
        return any(_last_name(other) == "modules" for other in test.comparators) or depth > 0 and _looks_for(test.left, depth - 1)
    parts = test.values if isinstance(test, ast.BoolOp) else [test.operand] if isinstance(test, ast.UnaryOp) else []
    return depth > 0 and any(_looks_for(part, depth - 1) for part in parts[:8])


def _catches(handlers):
    for handler in handlers:
        caught = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
        if any(kind is None or _last_name(kind) in _CATCHES_IMPORT_ERROR for kind in caught):
            return True
    return False


def _last_name(node):
    """Returns the last name of an expression: `b` for `b` and for `a.b`."""
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else None


def _left_out(node):
    """Returns the fields of a node that never run: those for type checkers."""
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
    # A relative import begins with a dot.
    is_module = isinstance(name, str) and all(part.isidentifier() for part in name.split("."))
    return name if is_module else None


def _facts(tree, finds_itself):
    """Returns the modules that a program creates, and its uses of packages. A string that is a
    statement of its own is a comment."""
    own, uses = set(), set()
    waiting = [tree]
    for _ in range(_MAX_NODES):
        if not waiting:
            break
        node = waiting.pop()
        if isinstance(node, ast.Constant):
            if isinstance(node.value, str):
                own.update(_named_files(node.value))
                uses.update(_uses_of(node.value))
                if finds_itself:
                    own.update(part for part in node.value.split("/") if part.isidentifier())
            continue
        if isinstance(node, ast.Attribute):
            uses.add("." + node.attr)
        elif isinstance(node, ast.ImportFrom):
            uses.update("." + alias.name for alias in node.names)
        elif isinstance(node, ast.Subscript):
            if isinstance(node.ctx, ast.Store) and _last_name(node.value) == "modules":
                own.update(_module_names([node.slice]))
        elif isinstance(node, ast.Call):
            own.update(_made_by(node))
            if _last_name(node.func) in _IMPORTING or _last_name(node.func) in _LOOKING:
                continue
        elif isinstance(node, ast.AugAssign) and _last_name(node.target) == "modules":
            own.update(_module_names([node.value]))
        for field in node._fields:
            value = getattr(node, field, None)
            for child in value if isinstance(value, list) else (value,):
                is_comment = isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant)
                if isinstance(child, ast.AST) and not is_comment:
                    waiting.append(child)
    return own, uses


def _made_by(call):
    name, on = _last_name(call.func), call.func.value if isinstance(call.func, ast.Attribute) else None
    if name in _MAKING:
        return _module_names(call.args[:1])
    # sys.modules.update(...), sys.modules.setdefault(...), patch.dict(sys.modules, ...),
    # patch.dict("sys.modules", ...)
    changes = _last_name(on) == "modules" and name in ("setdefault", "update", "__setitem__")
    patches = name in ("dict", "setitem") and any(
        _last_name(given) == "modules" or isinstance(given, ast.Constant) and given.value == "sys.modules" for given in call.args[:1]
    )
    return _module_names(call.args) if changes or patches else ()


def _module_names(nodes):
    """Returns the first parts of module names that are given as strings, or as the keys of a
    dictionary."""
    keys = [key for node in nodes for key in (node.keys if isinstance(node, ast.Dict) else [node])]
    names = [key.value.partition(".")[0] for key in keys if isinstance(key, ast.Constant) and isinstance(key.value, str)]
    return [name for name in names if name.isidentifier() and name != "sys"]


def _named_files(text):
    """Returns the modules that a text names as files: `lib` and `helpers` for
    `./lib/helpers.py`."""
    # Leaves out files on other machines and installed packages.
    if "://" in text or "site-packages" in text:
        return
    parts = text.split(".py")
    for part, after in zip(parts, parts[1:]):
        # Not where `.py` is the beginning of a longer word, such as `.python`; `.pyc` counts as a
        # file.
        if after[:1].isalnum() and (after[0] not in "ciw" or after[1:2].isalnum()) or after.startswith("_"):
            continue
        path = part[-256:].replace("\\", "/")
        start = len(path)
        while start > 0 and (path[start - 1].isalnum() or path[start - 1] in "_/"):
            start -= 1
        yield from (name for name in path[start:].split("/") if name.isidentifier())


def _uses_of(text):
    scheme, separator, _ = text.partition("://")
    if separator and len(scheme) <= _MAX_TEXT:
        yield scheme.lower() + "://"
    if "." in text[-8:]:
        yield "*." + text[-8:].rpartition(".")[2].lower()
    if 0 < len(text) <= _MAX_TEXT and text.isprintable():
        yield f'"{text}"'


def _additions(source):
    import tokenize

    for token in tokenize.tokenize(iter(source.splitlines(keepends=True)).__next__):
        if token.type == tokenize.COMMENT:
            word, *added = token.string.lstrip("#! \t").split(None, 1)[:2] or [""]
            if word == _ADDITION and added:
                yield added[0].rstrip()
