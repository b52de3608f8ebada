"""Converts values that are not built into Python to JSON: first those of packages, by their names,
then those that follow a known protocol.

A value of any other kind is refused. Nothing is called or iterated on a guess: an attribute
counts only if the class has it, and only in the meaning of the protocol.
"""

from belljar_driver import originals as __builtins__

from sys import modules

from belljar_driver import convert
from belljar_driver.convert import Encoder, distinct, put_null, put_text, quote, refuse_complex
from belljar_driver.untouched import driver_module

#: The modules whose iterators are read even if the program did not return them explicitly: those of
#: the language.
_ITERATORS = {"builtins", "itertools", "collections", "_collections", "csv", "_csv"}


def conversion_of(kind):
    """Returns the conversion of a class that is not in `convert.CONVERSIONS`."""
    found = convert.conversion_of(kind, CONVERSIONS)
    if found is not None:
        return found
    for has, found in PROTOCOLS:
        if has(kind):
            return found
    return _refuse


def _refuse(encoder, value):
    kind = type(value)
    for names, hint in HINTS:
        if any((base.__module__, base.__name__) in names or base.__name__ in names for base in kind.__mro__):
            return encoder.refuse_kind(kind, hint)
    if isinstance(value, type):
        encoder.refuse(f"the class {value.__name__} has no JSON form (give its name, or make an instance)", f"class {value.__name__}")
    if driver_module("rich").has_picture(value):
        encoder.refuse_kind(kind, "show it with display()")
    encoder.refuse_kind(kind)


#: The names of classes, some with their module, each with the function that returns the data of a
#: value.
HINTS = [
    ({("builtins", "function"), ("builtins", "method"), ("builtins", "builtin_function_or_method"), ("functools", "partial")}, "call it"),
    ({("builtins", "coroutine"), ("_asyncio", "Future"), ("builtins", "async_generator")}, "await it"),
    ({("concurrent.futures._base", "Future")}, "give its result()"),
    ({("_io", "_IOBase")}, "give what its read() returns"),
    ({("requests.models", "Response"), ("httpx", "Response")}, "give its json() or its text"),
    ({"ClientResponse"}, "give `await response.json()` or `await response.text()`"),
    ({("pandas.core.groupby.groupby", "BaseGroupBy")}, "aggregate it first, with sum() or the like"),
    ({"LazyFrame"}, "give what its collect() returns"),
    ({("matplotlib.artist", "Artist"), ("matplotlib.figure", "FigureBase")}, "show it with display()"),
    ({("builtins", "module")}, "give the values in it"),
]


# By name


def _put_float_of_any_precision(encoder, value, bits):
    """Writes a number if a double holds the value exactly, otherwise its text, as for `Decimal`."""
    if bits > 53:
        return put_text(encoder, value)
    encoder.put(convert.float_text(float(value)))


def _put_sympy_float(encoder, value):
    _put_float_of_any_precision(encoder, value, value._prec)


def _put_mpmath_float(encoder, value):
    _put_float_of_any_precision(encoder, value, value.context.prec)


def _put_int(encoder, value):
    encoder.put_int(int(value))


def _put_args(encoder, value):
    encoder.nested(value, lambda it: encoder.put_list(it.args))


def _expect_items(encoder, value):
    """Refuses a value with too many items early, because a list of them would exceed the run's
    memory."""
    shape = getattr(value, "shape", None)
    count = 1
    for length in shape if isinstance(shape, tuple) else [len(value)] if hasattr(type(value), "__len__") else []:
        count *= length if isinstance(length, int) else 1
    encoder.expect(count * 2)


def _put_tolist(encoder, value):
    _expect_items(encoder, value)
    encoder.nested(value, lambda it: encoder.encode(it.tolist()))


def _put_by(method):
    """Returns a conversion that calls a method without arguments, which returns a list."""

    def put(encoder, value):
        _expect_items(encoder, value)
        encoder.nested(value, lambda it: encoder.encode(getattr(it, method)()))

    return put


def _put_to_dict(encoder, value):
    encoder.nested(value, lambda it: encoder.encode(it.to_dict()))


def _put_element(encoder, value):
    if hasattr(type(value), "toxml"):
        return encoder.encode(value.toxml())
    element = value.getroot() if hasattr(type(value), "getroot") else value
    encoder.encode(modules["xml.etree.ElementTree"].tostring(element, encoding="unicode"))


def _put_lxml(encoder, value):
    encoder.encode(modules["lxml.etree"].tostring(value, encoding="unicode", with_tail=False))


def _put_array(encoder, value):
    encoder.expect(value.size * 2)
    kind = value.dtype.kind
    if kind == "c":
        refuse_complex(encoder, value)
    if kind == "M":
        texts = value.astype(str).tolist()
        return encoder.encode(_without_nat(texts) if bool((value != value).any()) else texts)
    if kind == "m":
        value = value.astype("timedelta64[us]")
    if kind == "V" and value.ndim > 0:
        return encoder.nested(value, encoder.put_list)
    if kind == "V":
        return encoder.encode(value[()])
    encoder.nested(value, lambda it: encoder.encode(it.tolist()))


def _without_nat(texts):
    """Returns nested lists of dates as text, with None for missing dates."""
    if type(texts) is list:
        return [_without_nat(text) for text in texts]
    return None if texts == "NaT" else texts


def _put_numpy_scalar(encoder, value):
    kind = value.dtype.kind
    if kind == "c":
        refuse_complex(encoder, value)
    if kind == "M":
        text = str(value)
        return encoder.put("null" if text == "NaT" else quote(text))
    if kind == "V":
        names = value.dtype.names
        if names is None:
            return encoder.put_bytes(value.tobytes())
        return encoder.nested(value, lambda it: encoder.put_object({name: it[name] for name in names}))
    if kind == "m":
        value = value.astype("timedelta64[us]")
    item = value.item()
    if type(item) is type(value):
        # A long double has more precision than readers of JSON keep, so it is rounded to a double.
        item = float(value)
    encoder.encode(item)


def _put_cursor(encoder, value):
    """Writes the rows of a query. The cursor of any other statement has none, and is refused."""
    if value.description is None:
        encoder.refuse_kind(type(value), "the statement returned no rows")
    encoder.put_iterated(value)


def _put_sql_row(encoder, value):
    encoder.nested(value, lambda it: encoder.put_members(distinct([str(key) for key in it.keys()]), [*it]))


def _put_degrees(encoder, value):
    encoder.nested(value, lambda it: encoder.put_object(dict(it)))


def _put_protobuf(encoder, value):
    from google.protobuf.json_format import MessageToDict

    encoder.encode(MessageToDict(value, preserving_proto_field_name=True))


def _put_pydantic(encoder, value):
    encoder.nested(value, lambda it: encoder.encode(it.model_dump() if hasattr(type(it), "model_dump") else it.dict()))


def _table(name):
    return lambda encoder, value: getattr(driver_module("tables"), name)(encoder, value)


def _put_bool(encoder, value):
    encoder.put("true" if value else "false")


#: The conversions by the first part of the module and the name of a class.
CONVERSIONS = {
    ("collections", "UserString"): put_text,
    ("zoneinfo", "ZoneInfo"): put_text,
    ("datetime", "tzinfo"): put_text,
    ("email", "Message"): put_text,
    ("sqlite3", "Cursor"): _put_cursor,
    ("sqlite3", "Row"): _put_sql_row,
    ("xml", "Element"): _put_element,
    ("xml", "ElementTree"): _put_element,
    ("xml", "Node"): _put_element,
    ("lxml", "_Element"): _put_lxml,
    ("lxml", "_ElementTree"): _put_lxml,
    ("bs4", "PageElement"): put_text,
    ("numpy", "ndarray"): _put_array,
    ("numpy", "generic"): _put_numpy_scalar,
    ("numpy", "dtype"): put_text,
    ("pandas", "DataFrame"): _table("put_frame"),
    ("pandas", "Series"): _table("put_series"),
    ("pandas", "Index"): _put_tolist,
    ("pandas", "ExtensionArray"): _put_tolist,
    ("pandas", "ExtensionDtype"): put_text,
    ("pandas", "NAType"): put_null,
    ("pandas", "Period"): put_text,
    ("pandas", "Interval"): put_text,
    ("polars", "DataFrame"): _put_by("to_dicts"),
    ("polars", "Series"): _put_by("to_list"),
    ("polars", "DataType"): put_text,
    ("polars", "DataTypeClass"): put_text,
    ("pyarrow", "Table"): _table("put_arrow_table"),
    ("pyarrow", "RecordBatch"): _table("put_arrow_table"),
    ("pyarrow", "Scalar"): lambda encoder, value: encoder.encode(value.as_py()),
    ("pyarrow", "DataType"): put_text,
    ("pyarrow", "Schema"): put_text,
    ("xarray", "DataArray"): _put_to_dict,
    ("xarray", "Dataset"): _put_to_dict,
    ("sympy", "Integer"): _put_int,
    ("sympy", "Float"): _put_sympy_float,
    ("sympy", "BooleanTrue"): _put_bool,
    ("sympy", "BooleanFalse"): _put_bool,
    ("sympy", "Tuple"): _put_args,
    ("sympy", "FiniteSet"): _put_args,
    ("sympy", "MatrixBase"): _put_tolist,
    ("sympy", "NDimArray"): _put_tolist,
    ("sympy", "Dict"): lambda encoder, value: encoder.nested(value, lambda it: encoder.put_members([*it.keys()], [*it.values()])),
    ("sympy", "Basic"): put_text,
    ("mpmath", "_mpf"): _put_mpmath_float,
    ("mpmath", "_mpc"): refuse_complex,
    ("mpmath", "ivmpf"): put_text,
    ("mpmath", "_matrix"): _put_tolist,
    ("pydantic", "BaseModel"): _put_pydantic,
    ("peewee", "Model"): lambda encoder, value: encoder.nested(value, lambda it: encoder.put_object(dict(it.__data__))),
    ("pint", "PlainQuantity"): put_text,
    ("networkx", "DiDegreeView"): _put_degrees,
    ("google", "Message"): _put_protobuf,
}


# By protocol


def _has_method(name):
    return lambda kind: callable(getattr(kind, name, None))


def _put_dataclass(encoder, value):
    encoder.nested(value, lambda it: encoder.put_object(_attributes(it, _names_of_fields(type(it)))))


def _names_of_fields(kind):
    """Returns the names of the fields of a dataclass, without the pseudo-fields `ClassVar` and
    `InitVar`."""
    return [name for name, field in kind.__dataclass_fields__.items() if field._field_type.name == "_FIELD"]


def _put_attrs(encoder, value):
    encoder.nested(value, lambda it: encoder.put_object(_attributes(it, [field.name for field in type(it).__attrs_attrs__])))


def _put_struct(encoder, value):
    encoder.nested(value, lambda it: encoder.put_object(_attributes(it, type(it).__struct_fields__)))


def _attributes(value, names):
    """Returns the attributes that are set, because a field may have no value."""
    found = {}
    for name in names:
        try:
            found[name] = getattr(value, name)
        except AttributeError:
            pass
    return found


def _put_columns(encoder, value):
    """Writes an object of SQLAlchemy's mapper as its columns, like a row of a `SELECT`."""
    names = [column.key for column in type(value).__mapper__.column_attrs]
    encoder.nested(value, lambda it: encoder.put_object({name: getattr(it, name) for name in names}))


def _is_mapping(kind):
    return _is_registered(kind, "Mapping") or callable(getattr(kind, "keys", None)) and hasattr(kind, "__getitem__")


def _put_mapping(encoder, value):
    encoder.nested(value, lambda it: _put_keys(encoder, it))


def _put_keys(encoder, value):
    keys = [*value.keys()]
    encoder.put_members(distinct(keys), [value[key] for key in keys])


def _is_registered(kind, name):
    """Returns whether a class is one of `collections.abc`, or registered as one."""
    abc = modules.get("_collections_abc")
    return abc is not None and issubclass(kind, getattr(abc, name))


def _is_collection(kind):
    return _is_registered(kind, "Sequence") or _is_registered(kind, "Set") or _is_registered(kind, "ValuesView")


def _put_collection(encoder, value):
    kind = type(value)
    if hasattr(kind, "_fields") and hasattr(kind, "_asdict"):
        # A row of SQLAlchemy, and other classes that present themselves as named tuples.
        return encoder.nested(value, lambda it: encoder.put_members(distinct([str(name) for name in it._fields]), [*it]))
    has_order = any(_is_registered(kind, name) for name in ("Sequence", "MappingView"))
    return encoder.put_iterated(value) if has_order else encoder.put_sorted(value)


def _is_number(kind):
    numbers = modules.get("numbers")
    return numbers is not None and issubclass(kind, numbers.Complex)


def _put_number(encoder, value):
    numbers, kind = modules["numbers"], type(value)
    if issubclass(kind, numbers.Integral):
        encoder.put_int(int(value))
    elif issubclass(kind, numbers.Rational):
        put_text(encoder, value)
    elif issubclass(kind, numbers.Real):
        encoder.put(convert.float_text(float(value)))
    else:
        refuse_complex(encoder, value)


def _put_as_array(encoder, value):
    if "numpy" not in modules:
        encoder.refuse_kind(type(value))
    _expect_items(encoder, value)
    array = modules["numpy"].asarray(value)
    if array.dtype == object:
        encoder.refuse_kind(type(value))
    _put_array(encoder, array)


def _is_iterator(kind):
    return hasattr(kind, "__next__") and not any(base.__module__ == "_io" for base in kind.__mro__)


def _put_iterator(encoder, value):
    if not encoder.is_handed_over and type(value).__module__ not in _ITERATORS:
        encoder.refuse_kind(type(value), "make it a list")
    encoder.put_iterated(value)


#: The conversions by protocol. The first whose test a class passes applies.
PROTOCOLS = [
    (lambda kind: hasattr(kind, "__dataclass_fields__"), _put_dataclass),
    (lambda kind: hasattr(kind, "__attrs_attrs__"), _put_attrs),
    (lambda kind: hasattr(kind, "__struct_fields__"), _put_struct),
    (_has_method("model_dump"), lambda encoder, value: encoder.nested(value, lambda it: encoder.encode(it.model_dump()))),
    (lambda kind: hasattr(kind, "__mapper__"), _put_columns),
    (lambda kind: hasattr(kind, "__geo_interface__"), lambda encoder, value: encoder.nested(value, lambda it: encoder.encode(it.__geo_interface__))),
    (_has_method("to_pylist"), _put_by("to_pylist")),
    (_is_mapping, _put_mapping),
    (_is_collection, _put_collection),
    (_is_number, _put_number),
    (_has_method("tolist"), _put_tolist),
    (lambda kind: all(hasattr(kind, name) for name in ("__array__", "shape", "dtype")), _put_as_array),
    (_is_iterator, _put_iterator),
]
