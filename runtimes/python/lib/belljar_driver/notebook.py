"""The functions that notebooks provide and that models therefore use: `display(...)` with
IPython's signature, implemented by `belljar.display`."""

from belljar_driver import originals as __builtins__

from belljar_driver import access


class DisplayHandle:
    """The result of `display(..., display_id=...)`. A rich result cannot be withdrawn, so an
    update is an additional result."""

    def __init__(self, display_id=None):
        self.display_id = display_id

    def display(self, obj, **keywords):
        display(obj, **keywords)

    def update(self, obj, **keywords):
        display(obj, **keywords)

    def __repr__(self):
        return f"<DisplayHandle display_id={self.display_id}>"


def display(
    *objs, include=None, exclude=None, metadata=None, transient=None, display_id=None, raw=False, clear=False, type=None, **keywords
):
    """Shows each of the values. With `raw`, each is a dict of data by media type."""
    for value in objs:
        if raw:
            publish_display_data(value)
        else:
            access.display_within(value, type)
    return None if display_id is None else DisplayHandle(None if display_id is True else display_id)


def publish_display_data(data, metadata=None, source=None, *, transient=None, **keywords):
    for kind, content in data.items():
        if kind.startswith("image/") and kind != "image/svg+xml" and isinstance(content, str):
            from base64 import b64decode

            content = b64decode(content)
        access.display_within(content, kind)


def update_display(obj, *, display_id=None, **keywords):
    display(obj)


def clear_output(wait=False):
    """Does nothing: a rich result cannot be withdrawn."""
