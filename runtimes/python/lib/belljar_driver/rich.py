"""Rich results: what `display` sends, and the figures that a program leaves open."""

from belljar_driver import originals as __builtins__

from sys import modules

from belljar_driver import convert
from belljar_driver.native import RESULT
from belljar_driver.text import quote, utf8
from belljar_driver.untouched import standard_module

_METHODS = (
    ("_repr_html_", "text/html"),
    ("_repr_markdown_", "text/markdown"),
    ("_repr_svg_", "image/svg+xml"),
    ("_repr_png_", "image/png"),
    ("_repr_jpeg_", "image/jpeg"),
    ("_repr_latex_", "text/latex"),
    ("_repr_json_", "application/json"),
)
_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"%PDF-", "application/pdf"),
)


class Display:
    """Where rich results go. `limit` bounds each of them, in bytes."""

    def __init__(self, send, limit):
        self.send = send
        self.limit = limit

    def display(self, value, type=None):
        """Shows a value to whoever asked for the run: an image, a table, a document. Returns nothing.

        `type` is the MIME type of a str or bytes that does not tell by itself what it is.
        """
        if type is not None:
            if not isinstance(type, str) or "/" not in type:
                raise TypeError(f'display: type must be a media type such as "image/png", got {type!r}')
            return self.put(type, value if isinstance(value, (str, bytes, bytearray, memoryview)) else self.json(value))
        figure = figure_of(value)
        if figure is not None:
            return self.put_figure(figure)
        representations = representations_of(value)
        if representations:
            for kind, data in representations.items():
                self.put(kind, data if isinstance(data, (str, bytes)) else self.json(data))
            return None
        if isinstance(value, (bytes, bytearray, memoryview)):
            value = bytes(value)
            kind = next((kind for magic, kind in _MAGIC if value.startswith(magic)), "application/octet-stream")
            return self.put(kind, value)
        if isinstance(value, str):
            head = value.lstrip()[:100].lower()
            is_svg = head.startswith("<svg") or head.startswith("<?xml") and "<svg" in value[:1000].lower()
            return self.put("image/svg+xml" if is_svg else "text/plain", value)
        try:
            return self.put("application/json", self.json(value))
        except convert.ResultNotSerializable:
            return self.put("text/plain", repr(value))

    def json(self, value):
        return convert.to_json(value, self.limit).decode()

    def put(self, kind, data):
        if isinstance(data, str):
            content, encoding = quote(data), "utf8"
        else:
            b2a_base64 = standard_module("binascii").b2a_base64
            content, encoding = f'"{b2a_base64(data, newline=False).decode()}"', "base64"
        if len(content) > self.limit:
            raise ValueError(f"display: the value is larger than result_bytes ({self.limit} bytes)")
        self.send(RESULT, utf8(f'{{"type": {quote(str(kind))}, "data": {content}, "encoding": "{encoding}"}}'))

    def put_figure(self, figure):
        from io import BytesIO

        buffer = BytesIO()
        figure.savefig(buffer, format="png", bbox_inches="tight")
        self.put("image/png", buffer.getvalue())
        _shown.add(id(figure))

    def put_open_figures(self, close=True):
        """What `plt.show()` does, and what is done once at the end for figures that nobody showed."""
        pyplot = modules.get("matplotlib.pyplot")
        if pyplot is None:
            return
        for number in pyplot.get_fignums():
            figure = pyplot.figure(number)
            if id(figure) not in _shown:
                self.put_figure(figure)
        if close:
            pyplot.close("all")
            _shown.clear()


#: Figures already displayed and still open, by identity.
_shown = set()


def figure_of(value):
    """The matplotlib figure that a value is or belongs to."""
    names = [(base.__module__, base.__name__) for base in type(value).__mro__]
    if ("matplotlib.figure", "Figure") in names:
        return value
    if any(module.startswith("matplotlib.axes") and name == "Axes" for module, name in names):
        return value.get_figure()
    return None


def is_by_product(value):
    """Whether a value is what matplotlib's calls return in passing (`plt.title("x")`): nothing that anyone means as a result."""
    values = value if type(value) in (list, tuple) and value else (value,)
    return all(type(item).__module__.partition(".")[0] == "matplotlib" for item in values)


def has_picture(value):
    """Whether the value is made to be looked at."""
    return any(hasattr(type(value), name) for name in ("_repr_png_", "_repr_svg_", "_repr_html_", "_repr_mimebundle_", "_repr_markdown_"))


def representations_of(value):
    """What the value says of itself for people, by MIME type: IPython's protocol."""
    kind = type(value)
    if isinstance(value, type):
        return {}
    found = {}
    if hasattr(kind, "_repr_mimebundle_"):
        bundle = _call(value, "_repr_mimebundle_")
        found.update(bundle[0] if isinstance(bundle, tuple) else bundle or {})
    for method, mime in _METHODS:
        has_picture = any(mime.startswith("image/") for mime in found)
        if mime not in found and hasattr(kind, method) and not (has_picture and mime.startswith("image/")):
            data = _call(value, method)
            if data is not None:
                found[mime] = data[0] if isinstance(data, tuple) else data
    if "text/html" in found and "text/plain" not in found:
        found["text/plain"] = repr(value)
    return {mime: _bytes_of_image(mime, data) for mime, data in found.items()}


def _bytes_of_image(mime, data):
    """A bundle holds images as base64 text already; `put` makes it from bytes."""
    if isinstance(data, str) and mime.startswith("image/") and mime != "image/svg+xml":
        return standard_module("binascii").a2b_base64(data)
    return data


def _call(value, method):
    try:
        return getattr(value, method)()
    except NotImplementedError:
        return None
