"""Converts Python values to JSON: each kind has one conversion, and any other value is an error
with the path to it.

The text is built in pieces whose sizes are counted as they are added, so that a result over its
limit is refused without being built. Kinds are recognised by the names in a class's `__mro__`:
nothing has to be imported to know that a value is not a numpy array. The kinds of packages are
in kinds.py and tables.py, which are loaded for the first value that is not a built-in kind of
Python. docs/reference/results.md has the table.
"""

from belljar_driver import originals as __builtins__

from _json import make_encoder

from belljar_driver import errors
from belljar_driver.text import decode_json, quote, utf8
from belljar_driver.untouched import driver_module, standard_module

MAX_DEPTH = 100

_INFINITY = float("inf")
_NOT_FINITE = {_INFINITY: "Infinity", -_INFINITY: "-Infinity"}
_SCALARS = {str, int, float, bool, type(None)}
# Encodes in C an object whose values are all of these kinds. It rejects NaN, which is not JSON.
_encode_flat = make_encoder(None, None, quote, None, ": ", ", ", False, False, False)
# Lists longer than _SHORT are checked as a whole and encoded in slices of _SLICE items.
_SHORT = 16
_SLICE = 4096


class ResultNotSerializable(Exception):
    """A value without a JSON form. `path` leads to it from the result, `$`; `kind` is the name
    of its type, if that is the reason."""

    # Reported without the module, like built-in errors.
    __module__ = "builtins"

    def __init__(self, message, path, kind=None):
        super().__init__(f"{message} at {path}")
        self.path = path
        self.kind = kind


class ResultTooLarge(Exception):
    """The JSON of the result exceeds `limits.result_bytes`."""

    __module__ = "builtins"

    def __init__(self, limit):
        super().__init__(
            f"the result is larger than result_bytes ({limit} bytes); return less, write it to a file in outputs/, or raise the limit"
        )


def to_json(value, limit, is_handed_over=True):
    """Returns the value as UTF-8 JSON of at most `limit` bytes. Iterators of classes that the
    driver does not know are read only if the program returned the value explicitly, not if it is
    merely the last expression."""
    encoder = Encoder(limit, is_handed_over)
    encoder.encode(value)
    text = utf8("".join(encoder.pieces))
    if len(text) > limit:
        raise ResultTooLarge(limit)
    return text


class Encoder:
    def __init__(self, limit, is_handed_over):
        self.pieces = []
        self.limit = limit
        self.is_handed_over = is_handed_over
        self.size = 0
        self.path = []
        self.open = set()

    def put(self, text):
        self.pieces.append(text)
        self.size += len(text)
        if self.size > self.limit:
            raise ResultTooLarge(self.limit)

    def refuse(self, message, kind=None):
        raise ResultNotSerializable(message, path_text(self.path), kind)

    def refuse_kind(self, kind, hint="convert it to a dict, list, str or number"):
        self.refuse(f"a value of type {kind.__name__} has no JSON form ({hint})", kind.__name__)

    def expect(self, size):
        """Refuses the value early if at least `size` more bytes do not fit."""
        if self.size + size > self.limit:
            raise ResultTooLarge(self.limit)

    def encode(self, value):
        kind = type(value)
        if kind is str:
            self.expect(len(value))
            self.put(quote(value))
        elif value is None:
            self.put("null")
        elif value is True:
            self.put("true")
        elif value is False:
            self.put("false")
        elif kind is int:
            self.put_int(value)
        elif kind is float:
            self.put(float_text(value))
        elif kind is dict:
            self.nested(value, self.put_object)
        elif kind is list or kind is tuple:
            self.nested(value, self.put_list)
        else:
            self.encode_other(value, kind)

    def encode_other(self, value, kind):
        convert = conversion_of(kind, CONVERSIONS) or driver_module("kinds").conversion_of(kind)
        convert(self, value)

    def nested(self, value, put):
        """Writes a container, and detects cycles and nesting that is too deep."""
        if id(value) in self.open:
            self.refuse("the result contains itself")
        if len(self.open) >= MAX_DEPTH:
            self.refuse(f"the result is nested more than {MAX_DEPTH} deep")
        self.open.add(id(value))
        put(value)
        self.open.discard(id(value))

    def put_int(self, value):
        try:
            self.put(int.__repr__(value))
        except ValueError:
            self.refuse("an integer has too many digits to be written out (sys.set_int_max_str_digits)")

    def put_object(self, value):
        if len(value) < _SLICE and _SCALARS.issuperset(map(type, value.values())) and set(map(type, value)) <= {str}:
            self.expect(_text_length(value.values()))
            try:
                return self.put("".join(_encode_flat(value, 0)))
            except ValueError:
                pass  # a NaN, or an integer with too many digits: reported with its path below
        self.put_members([*value], [*value.values()])

    def put_members(self, keys, values):
        """Writes an object with these members, or, if two keys have the same text, an array of
        `[key, value]` pairs."""
        texts = self.key_texts(keys)
        if texts is None:
            return self.put_list([key, value] for key, value in zip(keys, values))
        separator = "{"
        for key, text, item in zip(keys, texts, values):
            self.path.append(text)
            self.put(f"{separator}{quote(text)}: ")
            self.encode(item)
            self.path.pop()
            separator = ", "
        self.put("{}" if separator == "{" else "}")

    def key_texts(self, keys):
        """Returns the keys of an object as text, or None if two of them have the same text, of
        which a reader would keep only one."""
        texts = keys if set(map(type, keys)) <= {str} else [self.key_text(key) for key in keys]
        return texts if len(set(texts)) == len(texts) else None

    def key_text(self, key):
        """Returns a key as the `json` module writes it, or else the text that the key would have
        as a value."""
        if isinstance(key, str):
            return key if type(key) is str else str.__str__(key)
        if key is None or key is True or key is False:
            return {None: "null", True: "true", False: "false"}[key]
        if isinstance(key, int):
            return int.__repr__(key)
        if isinstance(key, float):
            return float.__repr__(key) if -_INFINITY < key < _INFINITY else _NOT_FINITE.get(float(key), "NaN")
        if isinstance(key, tuple):
            return ", ".join([self.key_text(part) for part in key])
        if isinstance(key, frozenset):
            return ", ".join(sorted([self.key_text(part) for part in key]))
        if isinstance(key, type):
            return key.__qualname__
        if conversion_of(type(key), CONVERSIONS) is _put_enum:
            return self.key_text(key.value)
        text = self._text_of_key(key)
        return decode_json(text) if text[:1] == '"' else text

    def _text_of_key(self, key):
        inner = Encoder(self.limit, self.is_handed_over)
        inner.open = self.open
        try:
            inner.encode(key)
        except ResultNotSerializable:
            inner.pieces[:] = "{"
        text = "".join(inner.pieces)
        if text[:1] in ("{", "["):
            self.refuse(f"a key of type {type(key).__name__} cannot be an object's key; use str")
        return text

    def put_list(self, values):
        if type(values) is list and len(values) > _SHORT and _SCALARS.issuperset(map(type, values)):
            return self.put_scalars(values)
        separator, index = "[", 0
        for item in values:
            self.path.append(index)
            self.put(separator)
            self.encode(item)
            self.path.pop()
            separator, index = ", ", index + 1
        self.put("[]" if separator == "[" else "]")

    def put_scalars(self, values):
        """Writes a long list of plain scalars, one slice at a time, in C."""
        separator = "["
        for start in range(0, len(values), _SLICE):
            part = values[start : start + _SLICE]
            self.expect(_text_length(part))
            try:
                self.put(separator + "".join(_encode_flat(part, 0))[1:-1])
            except ValueError:
                # The slice contains a NaN, or an integer with too many digits, which is reported
                # with its path.
                for index, item in enumerate(part, start):
                    self.path.append(index)
                    self.put(separator)
                    self.encode(item)
                    self.path.pop()
                    separator = ", "
            separator = ", "
        self.put("]")

    def put_sorted(self, values):
        """Writes a set, sorted if its items can be sorted, so that equal results have equal
        texts."""
        try:
            values = sorted(values)
        except Exception:
            pass
        self.nested(values, self.put_list)

    def put_bytes(self, value):
        view = memoryview(value)
        self.expect(view.nbytes * 4 // 3)
        b2a_base64 = standard_module("binascii").b2a_base64
        self.put(f'"{b2a_base64(view.tobytes(), newline=False).decode()}"')

    def put_tuple(self, value):
        kind = type(value)
        if hasattr(kind, "_fields") and hasattr(kind, "_asdict"):
            return self.nested(value, lambda it: self.put_members(distinct([*it._fields]), [*it]))
        self.nested(value, self.put_list)

    def put_iterated(self, value):
        self.nested(value, self.put_list)


def _text_length(values):
    """Returns the number of characters in the strings among some scalars, a lower bound of the
    size of their JSON."""
    return sum([len(value) for value in values if type(value) is str])


def distinct(names):
    """Returns unique names for columns and fields. Repeated names get `.1`, `.2`, as in
    `pandas.read_csv`."""
    if len(set(names)) == len(names):
        return names
    given, found, numbers = set(names), {}, {}
    for name in names:
        unique = name
        while unique in found or unique != name and unique in given:
            numbers[name] = numbers.get(name, 0) + 1
            unique = f"{name}.{numbers[name]}"
        found[unique] = None
    return [*found]


def conversion_of(kind, conversions):
    """Returns the first conversion along the `__mro__` of a class, or None."""
    for base in kind.__mro__:
        module = base.__module__
        convert = conversions.get((module.partition(".")[0], base.__name__)) if type(module) is str else None
        if convert is not None:
            return convert
    return None


def float_text(value):
    """Returns a float as text. JSON has no NaN and no infinities."""
    if value != value or value in (_INFINITY, -_INFINITY):
        return "null"
    return float.__repr__(value)


def put_text(encoder, value):
    encoder.encode(str.__str__(str(value)))


def _put_date(encoder, value):
    text = value.isoformat()
    encoder.put("null" if text == "NaT" else quote(text))


def _put_duration(encoder, value):
    encoder.put(float_text(float(value.total_seconds())))


def put_null(encoder, value):
    encoder.put("null")


def refuse_complex(encoder, value):
    encoder.refuse("a complex number has no JSON form; return its real and imag", "complex number")


def _put_exception(encoder, value):
    encoder.nested(value, lambda it: encoder.put_object(errors.brief(it)))


def put_attributes(encoder, value):
    encoder.nested(value, lambda it: encoder.put_object(vars(it)))


def _put_enum(encoder, value):
    encoder.nested(value, lambda it: encoder.encode(it.value))


def _put_str(encoder, value):
    encoder.encode(str.__str__(value))


#: The conversions by the first part of the module and the name of a class. The first match along a
#: value's `__mro__` applies.
CONVERSIONS = {
    ("builtins", "str"): _put_str,
    ("builtins", "int"): Encoder.put_int,
    ("builtins", "float"): lambda encoder, value: encoder.put(float_text(float(value))),
    ("builtins", "complex"): refuse_complex,
    ("builtins", "dict"): lambda encoder, value: encoder.nested(value, encoder.put_object),
    ("builtins", "list"): Encoder.put_iterated,
    ("builtins", "tuple"): Encoder.put_tuple,
    ("builtins", "set"): Encoder.put_sorted,
    ("builtins", "frozenset"): Encoder.put_sorted,
    ("builtins", "bytes"): Encoder.put_bytes,
    ("builtins", "bytearray"): Encoder.put_bytes,
    ("builtins", "memoryview"): Encoder.put_bytes,
    ("builtins", "range"): Encoder.put_iterated,
    ("builtins", "dict_keys"): Encoder.put_iterated,
    ("builtins", "dict_values"): Encoder.put_iterated,
    ("builtins", "dict_items"): Encoder.put_iterated,
    ("builtins", "BaseException"): _put_exception,
    ("types", "SimpleNamespace"): put_attributes,
    ("argparse", "Namespace"): put_attributes,
    ("subprocess", "CompletedProcess"): put_attributes,
    ("collections", "deque"): Encoder.put_iterated,
    ("array", "array"): Encoder.put_iterated,
    ("datetime", "datetime"): _put_date,
    ("datetime", "date"): _put_date,
    ("datetime", "time"): _put_date,
    ("datetime", "timedelta"): _put_duration,
    ("decimal", "Decimal"): put_text,
    ("fractions", "Fraction"): put_text,
    ("uuid", "UUID"): put_text,
    ("enum", "Enum"): _put_enum,
    ("pathlib", "PurePath"): put_text,
    ("ipaddress", "_BaseAddress"): put_text,
    ("ipaddress", "_BaseNetwork"): put_text,
}


def path_text(path):
    """Returns the place of a value within the result, such as `$.items[3].f`."""
    text = "$"
    for part in path:
        if isinstance(part, str) and part.isidentifier():
            text += f".{part}"
        elif isinstance(part, int) and not isinstance(part, bool):
            text += f"[{part}]"
        else:
            text += f"[{_bounded_repr(part)}]"
    return text


def _bounded_repr(key):
    if isinstance(key, str):
        return quote(key if len(key) <= 100 else key[:100] + "...")
    return f"<{type(key).__name__}>"
