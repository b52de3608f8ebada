"""The packages that a program's calls of pip name: `subprocess.check_call([sys.executable, "-m",
"pip", "install", "x"])`, `os.system("pip install x")`, `pip.main(["install", "x"])`, and a
function of the program that passes its arguments to such a call."""

from belljar_driver import originals as __builtins__

import _ast as ast

from belljar_driver import installs

#: Maximum number of rounds in which names receive their values from each other.
_ROUNDS = 4
#: Maximum number of values of one name, and of all names together.
_MOST_VALUES = 200
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def packages(tree):
    nodes = [*_walk(tree)]
    calls = [node for node in nodes if isinstance(node, ast.Call)]
    values = _values(nodes, calls)
    found = []
    for call in calls:
        for words in _commands(call, values):
            found += installs.packages_of(words)
    return installs.unique(found)


def _walk(tree):
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        for field in node._fields:
            value = getattr(node, field, None)
            waiting.extend(child for child in (value if isinstance(value, list) else (value,)) if isinstance(child, ast.AST))


def _commands(call, values):
    """Returns the command lines that the arguments of a call can be, as lists of words."""
    name = _last_name(call.func)
    parts = [*call.args, *(keyword.value for keyword in call.keywords if keyword.arg in ("args", "cmd", "command"))]
    if name in ("main", "pip_main", "pipmain", "_main") and len(parts) == 1 and isinstance(parts[0], (ast.List, ast.Tuple)):
        # The function of pip itself: `pip.main(["install", "x"])`.
        yield ["pip", *_words(parts[0], values)]
    elif name in ("run_line_magic", "create_subprocess_exec"):
        yield [piece for part in parts for word in _words(part, values) for piece in word.split()]
    elif parts:
        words = _words(parts[0], values)
        yield words
        for word in words:
            if " " in word:
                yield installs.words_of(word)


def _words(node, values):
    """Returns the possible words for a part of a command line."""
    if isinstance(node, ast.Constant):
        return [node.value] if isinstance(node.value, str) else []
    if isinstance(node, (ast.List, ast.Tuple, ast.Set)):
        return [word for item in node.elts for word in _words(item, values)]
    if isinstance(node, ast.Starred):
        return _words(node.value, values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = _words(node.left, values), _words(node.right, values)
        is_text = all(isinstance(part, (ast.Constant, ast.Name, ast.JoinedStr, ast.BinOp, ast.Attribute)) for part in (node.left, node.right))
        return [one + other for one in left for other in right][:_MOST_VALUES] if is_text and left and right and any(" " in word for word in left) else left + right
    if isinstance(node, ast.JoinedStr):
        texts = [""]
        for part in node.values:
            given = [part.value] if isinstance(part, ast.Constant) else _words(part.value, values) or [""]
            texts = [text + word for text in texts for word in given][:_MOST_VALUES]
        return texts
    if isinstance(node, ast.Attribute):
        return ["python"] if node.attr == "executable" else []
    if isinstance(node, ast.Name):
        return [*values.get(node.id, ())]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("split", "join", "strip", "format"):
        texts = _words(node.func.value, values) if node.func.attr != "join" else [word for part in node.args for word in _words(part, values)]
        return [word for text in texts for word in (text.split() if node.func.attr == "split" else [text])]
    return []


def _values(nodes, calls):
    """Returns the strings that each name can have, as far as the program contains them
    literally: assigned, iterated over, or passed as arguments."""
    functions = {node.name: node for node in nodes if isinstance(node, _FUNCTIONS)}
    values = {}

    def give(target, source):
        if isinstance(target, ast.Name):
            known = values.setdefault(target.id, [])
            known += [word for word in _words(source, values) if word not in known][: _MOST_VALUES - len(known)]

    for _ in range(_ROUNDS):
        before = sum(map(len, values.values()))
        for node in nodes:
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    give(target, node.value)
            elif isinstance(node, (ast.AnnAssign, ast.NamedExpr)) and node.value is not None:
                give(node.target, node.value)
            elif isinstance(node, (ast.For, ast.AsyncFor, ast.comprehension)):
                if isinstance(node.iter, ast.Dict):
                    give(node.target, ast.List([key for key in node.iter.keys if key is not None]))
                else:
                    give(node.target, node.iter)
        for call in calls:
            function = functions.get(_last_name(call.func))
            if function is None:
                continue
            names = [argument.arg for argument in (*function.args.posonlyargs, *function.args.args)]
            for name, argument in zip(names, call.args):
                give(ast.Name(name), argument)
            if function.args.vararg is not None:
                for argument in call.args[len(names) :]:
                    give(ast.Name(function.args.vararg.arg), argument)
            for keyword in call.keywords:
                if keyword.arg is not None:
                    give(ast.Name(keyword.arg), keyword.value)
        if sum(map(len, values.values())) == before:
            break
    return values


def _last_name(node):
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else None
