"""Rich results: values that `display` sends, and values that have a representation of their own."""

from belljar_driver import originals as __builtins__

from sys import modules

from belljar_driver import convert, figures
from belljar_driver.native import RESULT
from belljar_driver.text import quote, utf8
from belljar_driver.untouched import driver_module, standard_module

#: The methods by which a value represents itself in IPython's protocol, with the media type of each
#: result.
_METHODS = (
    ("_repr_html_", "text/html"),
    ("_repr_markdown_", "text/markdown"),
    ("_repr_svg_", "image/svg+xml"),
    ("_repr_png_", "image/png"),
    ("_repr_jpeg_", "image/jpeg"),
    ("_repr_pdf_", "application/pdf"),
    ("_repr_latex_", "text/latex"),
    ("_repr_json_", "application/json"),
    ("_repr_javascript_", "application/javascript"),
)
_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"%PDF-", "application/pdf"),
)
#: Maximum number of items of a list, a tuple or a dict that are searched for pictures.
_MAX_PICTURES = 20
#: Packages whose values have a JSON form that omits information: labels, units, types of columns,
#: exact forms.
_ALSO_AS_TEXT = {"pandas", "polars", "pyarrow", "xarray", "sympy", "mpmath", "bs4"}
#: The share of `output_bytes` that is reserved for logs and explicit displays: an eighth.
_RESERVE = 8


class TooLarge(ValueError):
    """A rich result exceeds the remaining output of the run."""


class Display:
    """Collects rich results. `limit` bounds each of them, and `output_limit` the sum of those that
    the program did not show explicitly, in bytes."""

    def __init__(self, send, note, limit, output_limit):
        self.send = send
        self.note = note
        self.limit = limit
        self.output_limit = output_limit
        self._sent = 0
        self._is_unasked = False

    def display(self, value, type=None):
        """Shows a value to the caller of the run: an image, a table, a document. Returns nothing.

        `type` is the media type of a str or bytes, if the data does not reveal it.
        """
        if type is not None:
            if not isinstance(type, str) or "/" not in type:
                raise TypeError(f'display: type must be a media type such as "image/png", got {type!r}')
            return self.put(type, value if isinstance(value, (str, bytes, bytearray, memoryview)) else self.json(value))
        if self.put_shown(value):
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
        except convert.ResultTooLarge:
            raise
        except Exception:
            return self.put("text/plain", self.text(value))

    def put_shown(self, value):
        """Sends the representations of a value. Returns whether it has any."""
        figure = figures.figure_of(value)
        if figure is not None:
            self.put_figure(figure)
            return True
        if _page_of(value) is None and _has(value, "_ipython_display_"):
            try:
                value._ipython_display_()
                return True
            except Exception:
                pass  # It shows itself in a notebook only; what it has for others comes next.
        representations = representations_of(value)
        for kind, data in representations.items():
            self.put(kind, data if isinstance(data, (str, bytes)) else self.json(data))
        return bool(representations)

    def put_last(self, value, failure):
        """Shows the value of a last expression that has no JSON form, for the reason `failure`, or
        whose JSON form omits information.

        Items of a list that have pictures are shown one by one.
        """
        if failure is None:
            if is_data(value) or has_picture(value):
                self.put_unasked("the last expression", lambda: self.put_shown(value) or self.put("text/plain", self.text(value)))
            return
        items = [value, *_items(value)]
        pictured = [item for item in items if has_picture(item)]
        if figures.is_by_product(value) and all(figures.figure_of(item) is not None for item in pictured):
            if figures.figure_of(value) is not None:
                self.put_picture(value)
            return
        shown = [self.put_picture(item) for item in pictured]
        is_all_shown = shown == [True] * max(len(items) - 1, 1)
        if not is_all_shown:
            self.put_unasked("the last expression", lambda: self.put("text/plain", self.text(value)))
        if isinstance(failure, convert.ResultTooLarge):
            reason = f"its JSON is larger than result_bytes ({self.limit} bytes)"
            self.note(f"the value of the last expression is null: {reason}; the beginning of its text is shown instead")
        elif not is_all_shown or is_data(value):
            self.note(_why_null(value, failure))

    def put_picture(self, value):
        """Shows a value that has a picture, unless it was shown before. Returns whether the
        picture is visible to the caller."""
        figure = figures.figure_of(value)
        if figure is not None and (figures.was_shown(figure) or figures.is_blank(figure)):
            return True
        shown = []
        return self.put_unasked("the last expression", lambda: shown.append(self.put_shown(value))) and shown == [True]

    def put_unasked(self, name, put):
        """Calls `put` for a value that is shown without an explicit `display`. It never fails
        the run. Returns whether the value was shown."""
        self._is_unasked = True
        try:
            put()
            return True
        except TooLarge as failure:
            self.note(f"{name} is not shown: {failure}")
        except Exception as failure:
            self.note(" ".join(f"{name} is not shown: {type(failure).__name__}: {failure}".split()))
        finally:
            self._is_unasked = False
        return False

    def display_within(self, value, type=None):
        """Displays a value if `output_bytes` has room for it: code from notebooks displays whole
        libraries of JavaScript."""
        self._is_unasked = True
        try:
            self.display(value, type)
        except TooLarge as failure:
            self.note(f"a displayed value is not shown: {failure}")
        finally:
            self._is_unasked = False

    def json(self, value):
        return convert.to_json(value, self.limit).decode()

    def text(self, value):
        return driver_module("bounded_repr").text_of(value)

    def put(self, kind, data):
        if isinstance(data, str):
            content, encoding = quote(data), "utf8"
        else:
            b2a_base64 = standard_module("binascii").b2a_base64
            content, encoding = f'"{b2a_base64(data, newline=False).decode()}"', "base64"
        if len(content) > self.limit:
            raise TooLarge(f"display: the value is larger than result_bytes ({self.limit} bytes)")
        payload = utf8(f'{{"type": {quote(str(kind))}, "data": {content}, "encoding": "{encoding}"}}')
        if self._is_unasked and self._sent + len(payload) > self.output_limit - self.output_limit // _RESERVE:
            raise TooLarge(f"output_bytes ({self.output_limit} bytes) has no room for it")
        self._sent += len(payload)
        self.send(RESULT, payload)

    def put_figure(self, figure):
        self.put("image/png", figures.png_of(figure))
        figures.remember_shown(figure)

    def put_figure_unasked(self, figure):
        self.put_unasked("a figure", lambda: self.put_figure(figure))

    def put_open_figures(self):
        """Shows the open figures: when the program calls `plt.show()`, and once at the end of the
        run for those that were not shown."""
        for figure in figures.open_figures():
            if not figures.was_shown(figure) and not figures.is_blank(figure):
                self.put_figure_unasked(figure)
        figures.close_all()


def _why_null(value, failure):
    kind = getattr(failure, "kind", None)
    path = getattr(failure, "path", None)
    if path == "$" and (kind == type(value).__name__ or isinstance(value, (type, complex))):
        return f"the last expression, {_with_article(kind)}, has no JSON form; its value is null"
    if path is not None and kind is not None:
        where = "in it" if path == "$" else f"at {path}"
        return f"the last expression has no JSON form, because of {_with_article(kind)} {where}; its value is null"
    reason = str(failure) if path is not None else f"{type(failure).__name__}: {failure}"
    return f"the last expression has no JSON form ({reason}); its value is null"


def _with_article(kind):
    if kind.startswith("class "):
        return f"the {kind}"
    return f"{'an' if kind[:1].lower() in tuple('aeiou') else 'a'} {kind}"


def _items(value):
    kind = type(value)
    if kind in (list, tuple):
        return value[:_MAX_PICTURES]
    return [*value.values()][:_MAX_PICTURES] if kind is dict else []


def is_of(value, package, name):
    """Returns whether the class of a value is in a package and has a name, without importing the
    package."""
    for base in type(value).__mro__:
        if base.__name__ == name and str(base.__module__).partition(".")[0] == package:
            return True
    return False


def _has(value, method):
    return not isinstance(value, type) and callable(getattr(type(value), method, None))


def has_picture(value):
    """Returns whether a value is made to be looked at."""
    if figures.figure_of(value) is not None or _page_of(value) is not None:
        return True
    methods = ("_repr_mimebundle_", "_ipython_display_", *[method for method, _ in _METHODS])
    return any(_has(value, method) for method in methods)


def is_data(value):
    """Returns whether a value belongs to a package whose values have a JSON form that omits
    information."""
    return any(str(base.__module__).partition(".")[0] in _ALSO_AS_TEXT for base in type(value).__mro__)


def representations_of(value):
    """Returns the representations of a value, by media type."""
    page = _page_of(value)
    if page is not None:
        return {"text/html": page(value)}
    found = {}
    if _has(value, "_repr_mimebundle_"):
        bundle = _call(value, "_repr_mimebundle_")
        bundle = bundle[0] if isinstance(bundle, tuple) else bundle
        found.update(bundle if isinstance(bundle, dict) else {})
    for method, mime in _METHODS:
        has_image = any(mime.startswith("image/") for mime in found)
        if mime not in found and _has(value, method) and not (has_image and mime.startswith("image/")):
            data = _call(value, method)
            if data is not None:
                found[mime] = data[0] if isinstance(data, tuple) else data
    if "text/html" in found and "text/plain" not in found:
        text = driver_module("bounded_repr").text_of(value)
        # The default repr of an object has no information.
        is_bare = text.startswith("<") and (" object at 0x" in text or text.endswith(" object>"))
        found.update({} if is_bare else {"text/plain": text})
    if [*found] == ["text/plain"]:
        # A bundle that contains only text: the value has no picture after all.
        return {"text/plain": found["text/plain"]} if _has(value, "_repr_mimebundle_") else {}
    return {mime: _bytes_of_image(mime, data) for mime, data in found.items()}


def _page_of(value):
    """Returns the function that converts the figures of a library for browsers to a page. Their
    own methods would need a notebook."""
    if is_of(value, "plotly", "BaseFigure"):
        return _plotly_page
    if is_of(value, "altair", "TopLevelMixin") and _has(value, "to_html"):
        return lambda chart: chart.to_html()
    if is_of(value, "bokeh", "Model"):
        return _bokeh_page
    return None


def _plotly_page(figure):
    return figure.to_html(include_plotlyjs="cdn", full_html=False)


def _bokeh_page(model):
    from bokeh.embed import file_html
    from bokeh.resources import CDN

    return file_html(model, CDN)


def _bytes_of_image(mime, data):
    """Returns the bytes of an image. Bundles contain images as base64, and `put` encodes bytes
    to base64."""
    if isinstance(data, str) and mime.startswith("image/") and mime != "image/svg+xml":
        return standard_module("binascii").a2b_base64(data)
    return data


def _call(value, method):
    """Returns the result of one of those methods, or None if it fails, so that the next one is
    tried as in a notebook."""
    try:
        return getattr(value, method)()
    except Exception:
        return None
