"""Python values as JSON: one conversion for each kind, an error with the path to the value for everything else.

The text is built in pieces that are counted as they come, so that a result over its limit is refused without being built. Kinds
are told by the names in a class's `__mro__`: nothing has to be imported to know that a value is not a numpy array.
docs/reference/results.md is the table.
"""

from belljar_driver import originals as __builtins__

from _json import make_encoder

from belljar_driver import errors
from belljar_driver.text import quote, utf8
from belljar_driver.untouched import standard_module

MAX_DEPTH = 100

_INFINITY = float("inf")
_SCALARS = {str, int, float, bool, type(None)}
# Encodes an object whose values are all of those kinds, in C. Refuses NaN, which is not JSON.
_encode_flat = make_encoder(None, None, quote, None, ": ", ", ", False, False, False)
# Lists longer than the one are looked at as a whole, and written so many at a time as the other says.
_SHORT = 16
_SLICE = 4096


class ResultNotSerializable(Exception):
    """A value with no JSON form. `path` leads to it from the result, `$`."""

    # Told without the module, as errors of the language are.
    __module__ = "builtins"

    def __init__(self, message, path):
        super().__init__(f"{message} at {path}")
        self.path = path


class ResultTooLarge(Exception):
    """The result's JSON is over `limits.result_bytes`."""

    __module__ = "builtins"

    def __init__(self, limit):
        super().__init__(
            f"the result is larger than result_bytes ({limit} bytes); return less, write it to a file in outputs/, or raise the limit"
        )


def to_json(value, limit):
    """The value as UTF-8 JSON of at most `limit` bytes."""
    encoder = _Encoder(limit)
    encoder.encode(value)
    text = utf8("".join(encoder.pieces))
    if len(text) > limit:
        raise ResultTooLarge(limit)
    return text


class _Encoder:
    def __init__(self, limit):
        self.pieces = []
        self.limit = limit
        self.size = 0
        self.path = []
        self.open = set()

    def put(self, text):
        self.pieces.append(text)
        self.size += len(text)
        if self.size > self.limit:
            raise ResultTooLarge(self.limit)

    def refuse(self, message):
        raise ResultNotSerializable(message, path_text(self.path))

    def expect(self, size):
        """Refuses early what is going to be at least so large."""
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
        for base in kind.__mro__:
            convert = CONVERSIONS.get((base.__module__.partition(".")[0], base.__name__))
            if convert is not None:
                return convert(self, value)
        if hasattr(kind, "__dataclass_fields__"):
            return self.nested(value, lambda it: self.put_object({name: getattr(it, name) for name in kind.__dataclass_fields__}))
        if hasattr(kind, "__attrs_attrs__"):
            return self.nested(value, lambda it: self.put_object({field.name: getattr(it, field.name) for field in kind.__attrs_attrs__}))
        for method in ("model_dump", "to_dicts"):
            # pydantic models; polars frames.
            if callable(getattr(kind, method, None)):
                return self.nested(value, lambda it: self.encode(getattr(it, method)()))
        if hasattr(kind, "keys") and hasattr(kind, "__getitem__"):
            return self.nested(value, lambda it: self.put_object({key: it[key] for key in it.keys()}))
        if hasattr(kind, "__next__"):
            return self.nested(value, self.put_list)
        self.refuse(f"a value of type {kind.__name__} has no JSON form (convert it to a dict, list, str or number)")

    def nested(self, value, put):
        """Puts a value that holds others, knowing a cycle and a nesting that is too deep."""
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
                pass  # a NaN, or an integer with too many digits: said with its path below
        separator = "{"
        for key, item in value.items():
            self.path.append(key)
            self.put(f"{separator}{quote(self.key_text(key))}: ")
            self.encode(item)
            self.path.pop()
            separator = ", "
        self.put("{}" if separator == "{" else "}")

    def key_text(self, key):
        """Object keys as `json` writes them, and the scalars of numpy and enum that stand for them."""
        if isinstance(key, str):
            return key if type(key) is str else str.__str__(key)
        if key is None or key is True or key is False:
            return {None: "null", True: "true", False: "false"}[key]
        if isinstance(key, int):
            return int.__repr__(key)
        if isinstance(key, float):
            return float.__repr__(key)
        names = [base.__name__ for base in type(key).__mro__]
        if "Enum" in names:
            return self.key_text(key.value)
        if "generic" in names and type(key).__module__ == "numpy" and type(key.item()) is not type(key):
            return self.key_text(key.item())
        self.path.pop()
        self.refuse(f"a key of type {type(key).__name__} cannot be an object's key; use str")

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
        """A long list of plain scalars, a slice at a time in C."""
        separator = "["
        for start in range(0, len(values), _SLICE):
            part = values[start : start + _SLICE]
            self.expect(_text_length(part))
            try:
                self.put(separator + "".join(_encode_flat(part, 0))[1:-1])
            except ValueError:
                # A NaN, or an integer with too many digits, which is said with its path.
                for index, item in enumerate(part, start):
                    self.path.append(index)
                    self.put(separator)
                    self.encode(item)
                    self.path.pop()
                    separator = ", "
            separator = ", "
        self.put("]")

    def put_sorted(self, values):
        """Sets, in order where their items have one, so that equal results have equal texts."""
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
        if hasattr(value, "_fields") and hasattr(value, "_asdict"):
            return self.nested(value, lambda it: self.put_object(dict(zip(it._fields, it))))
        self.nested(value, self.put_list)

    def put_array(self, value):
        self.expect(value.size * 2)
        kind = value.dtype.kind
        if kind == "c":
            self.refuse("a complex number has no JSON form")
        if kind == "M":
            value = value.astype(str)
        elif kind == "m":
            value = value.astype("timedelta64[us]")
        self.encode(value.tolist())

    def put_numpy_scalar(self, value):
        kind = value.dtype.kind
        if kind == "M":
            text = str(value)
            return self.put("null" if text == "NaT" else quote(text))
        if kind == "m":
            value = value.astype("timedelta64[us]")
        item = value.item()
        if type(item) is type(value):
            # A long double: more than JSON's readers keep, so as near as a double comes.
            item = float(value)
        self.encode(item)

    def put_frame(self, value):
        self.expect(value.size * 2)
        self.encode(value.to_dict("records"))


def _text_length(values):
    """Characters in the strings among some scalars: what their JSON has at least."""
    return sum([len(value) for value in values if type(value) is str])


def float_text(value):
    """JSON has no NaN and no infinities."""
    if value != value or value in (_INFINITY, -_INFINITY):
        return "null"
    return float.__repr__(value)


def _as_text(convert):
    return lambda encoder, value: encoder.encode(str(convert(value)))


def _put_date(encoder, value):
    text = value.isoformat()
    encoder.put("null" if text == "NaT" else quote(text))


def _put_duration(encoder, value):
    seconds = value.total_seconds()
    encoder.put(float_text(float(seconds)))


def _null(encoder, value):
    encoder.put("null")


def _refuse_complex(encoder, value):
    encoder.refuse("a complex number has no JSON form; return its real and imag")


def _exception(encoder, value):
    encoder.nested(value, lambda it: encoder.put_object(errors.brief(it)))


#: By the first part of the module and the name of a class, the first found along a value's `__mro__`.
CONVERSIONS = {
    ("builtins", "str"): lambda encoder, value: encoder.encode(str.__str__(value) if type(value) is not str else value),
    ("builtins", "int"): _Encoder.put_int,
    ("builtins", "float"): lambda encoder, value: encoder.put(float_text(float(value))),
    ("builtins", "complex"): _refuse_complex,
    ("builtins", "dict"): lambda encoder, value: encoder.nested(value, encoder.put_object),
    ("builtins", "list"): lambda encoder, value: encoder.nested(value, encoder.put_list),
    ("builtins", "tuple"): _Encoder.put_tuple,
    ("builtins", "set"): _Encoder.put_sorted,
    ("builtins", "frozenset"): _Encoder.put_sorted,
    ("builtins", "bytes"): _Encoder.put_bytes,
    ("builtins", "bytearray"): _Encoder.put_bytes,
    ("builtins", "memoryview"): _Encoder.put_bytes,
    ("builtins", "range"): lambda encoder, value: encoder.nested(value, encoder.put_list),
    ("builtins", "dict_keys"): lambda encoder, value: encoder.nested(value, encoder.put_list),
    ("builtins", "dict_values"): lambda encoder, value: encoder.nested(value, encoder.put_list),
    ("builtins", "dict_items"): lambda encoder, value: encoder.nested(value, encoder.put_list),
    ("builtins", "BaseException"): _exception,
    ("types", "SimpleNamespace"): lambda encoder, value: encoder.nested(value, lambda it: encoder.put_object(vars(it))),
    ("argparse", "Namespace"): lambda encoder, value: encoder.nested(value, lambda it: encoder.put_object(vars(it))),
    ("subprocess", "CompletedProcess"): lambda encoder, value: encoder.nested(value, lambda it: encoder.put_object(vars(it))),
    ("collections", "deque"): lambda encoder, value: encoder.nested(value, encoder.put_list),
    ("array", "array"): lambda encoder, value: encoder.nested(value, encoder.put_list),
    ("datetime", "datetime"): _put_date,
    ("datetime", "date"): _put_date,
    ("datetime", "time"): _put_date,
    ("datetime", "timedelta"): _put_duration,
    ("decimal", "Decimal"): _as_text(str),
    ("fractions", "Fraction"): _as_text(str),
    ("uuid", "UUID"): _as_text(str),
    ("enum", "Enum"): lambda encoder, value: encoder.encode(value.value),
    ("pathlib", "PurePath"): _as_text(str),
    ("ipaddress", "_BaseAddress"): _as_text(str),
    ("ipaddress", "_BaseNetwork"): _as_text(str),
    ("numpy", "ndarray"): _Encoder.put_array,
    ("numpy", "generic"): _Encoder.put_numpy_scalar,
    ("pandas", "DataFrame"): _Encoder.put_frame,
    ("pandas", "Series"): lambda encoder, value: encoder.encode(value.tolist()),
    ("pandas", "Index"): lambda encoder, value: encoder.encode(value.tolist()),
    ("pandas", "ExtensionArray"): lambda encoder, value: encoder.encode(value.tolist()),
    ("pandas", "NAType"): _null,
    ("pandas", "Period"): _as_text(str),
    ("pandas", "Interval"): _as_text(str),
    ("polars", "Series"): lambda encoder, value: encoder.encode(value.to_list()),
}


def path_text(path):
    """`$.items[3].f`: where in the result a value stands."""
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
