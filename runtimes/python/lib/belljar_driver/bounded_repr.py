"""The text of a value that is shown: its repr, built without ever creating a string of
megabytes."""

from belljar_driver import originals as __builtins__

#: Maximum number of characters of one text.
MAX_CHARACTERS = 10_000
#: Maximum number of nested levels that are written out.
_MAX_DEPTH = 20
_BRACKETS = {list: ("[", "]"), tuple: ("(", ")"), set: ("{", "}"), frozenset: ("frozenset({", "})"), dict: ("{", "}")}


class _Full(Exception):
    pass


def text_of(value):
    """Returns the repr of a value. For a long one, returns its beginning and a mark that it was
    cut."""
    writer = _Writer()
    try:
        writer.write(value, 0)
    except _Full:
        text = "".join(writer.pieces)[:MAX_CHARACTERS]
        return f"{text}... (cut at {MAX_CHARACTERS} characters)"
    return "".join(writer.pieces)


class _Writer:
    def __init__(self):
        self.pieces = []
        self.room = MAX_CHARACTERS
        self.open = set()

    def put(self, text):
        self.pieces.append(text)
        self.room -= len(text)
        if self.room < 0:
            raise _Full

    def write(self, value, depth):
        kind = type(value)
        if kind is str or kind is bytes or kind is bytearray:
            # The repr cuts off at least what is cut off here.
            self.put(repr(value if len(value) <= self.room else value[: self.room + 1]))
        elif kind in _BRACKETS and (value or kind is list or kind is dict):
            self.write_items(value, kind, depth)
        else:
            self.put(_repr(value))

    def write_items(self, value, kind, depth):
        opening, closing = _BRACKETS[kind]
        if id(value) in self.open or depth > _MAX_DEPTH:
            return self.put(f"{opening}...{closing}")
        self.open.add(id(value))
        self.put(opening)
        separator = ""
        for item in value:
            self.put(separator)
            self.write(item, depth + 1)
            if kind is dict:
                self.put(": ")
                self.write(value[item], depth + 1)
            separator = ", "
        self.put(",)" if kind is tuple and len(value) == 1 else closing)
        self.open.discard(id(value))


def _repr(value):
    try:
        text = repr(value)
        return text if type(text) is str else str.__str__(text)
    except Exception as failure:
        return f"<{type(value).__name__} object; its repr raised {type(failure).__name__}>"
