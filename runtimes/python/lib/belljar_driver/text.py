"""Reads and writes JSON by CPython's own accelerators, because importing the `json` package
would import `re` and cost a one-shot run 5 ms."""

from belljar_driver import originals as __builtins__

from _json import encode_basestring, make_scanner

#: Returns a str as a JSON string with its quotes. Lone surrogates remain in it until `utf8`.
quote = encode_basestring


class _ScannerSettings:
    strict = False
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = float
    memo = {}


_scan = make_scanner(_ScannerSettings)


def decode_json(text):
    """Returns the value of a JSON text from the supervisor or the native library, which is
    always well-formed."""
    text = text.strip()
    value, end = _scan(text, 0)
    if end != len(text):
        raise ValueError("a JSON text from the supervisor has something after its end")
    return value


def utf8(text):
    """Returns the text as UTF-8. A lone surrogate, which has no UTF-8 form and is rejected by
    readers of JSON, becomes U+FFFD."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode()
