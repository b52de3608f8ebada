"""Adapts libraries that show things in a window, a browser or a notebook, so that these become rich
results instead.

Each function is called with a module of its library once that module is imported (session.py has
the list), and changes the one place that opens the window. Everything else in the library is
unchanged.
"""

from belljar_driver import originals as __builtins__

from os import PathLike, fsdecode
from os.path import abspath

from belljar_driver import HOME, access
from belljar_driver.untouched import driver_module


def take_over_matplotlib(backend_bases):
    """Changes `backend_bases`, from which every backend without a window inherits, including one
    that a program chooses by `use("Agg")`."""
    figures = driver_module("figures")
    manager = backend_bases.FigureManagerBase
    destroy, print_figure = manager.destroy, backend_bases.FigureCanvasBase.print_figure

    def show_all(cls=None, *, block=None):
        if block is False:
            for figure in figures.open_figures():
                figures.remember_wanted(figure)
        else:
            access.show_figures()

    def show_one(self):
        if not figures.is_blank(self.canvas.figure):
            access.show_figure(self.canvas.figure)

    def close_one(self, *arguments, **keywords):
        if figures.is_wanted(self.canvas.figure):
            access.show_figure(self.canvas.figure)
        return destroy(self, *arguments, **keywords)

    def print_one(self, filename, *arguments, **keywords):
        printed = print_figure(self, filename, *arguments, **keywords)
        if _is_left_behind(filename):
            figures.remember_wanted(self.figure)
            # Nothing closes a figure that pyplot does not manage.
            if getattr(self, "manager", None) is None and figures.is_wanted(self.figure):
                access.show_figure(self.figure)
        return printed

    manager.show, manager.destroy = show_one, close_one
    backend_bases.FigureCanvasBase.print_figure = print_one
    if hasattr(manager, "pyplot_show"):
        manager.pyplot_show = classmethod(show_all)
    backend_bases._Backend.show = classmethod(show_all)


def _is_left_behind(filename):
    """Returns whether a file is one that the run does not return as an artifact."""
    if not isinstance(filename, (str, PathLike)):
        return False
    try:
        return not abspath(fsdecode(filename)).startswith(f"{HOME}/outputs/")
    except OSError:
        # The working folder was deleted.
        return False


def take_over_matplotlib_figures(module):
    """Treats a figure that is cleared and drawn on again as another picture."""
    figures = driver_module("figures")
    clear = module.Figure.clear

    def clear_one(self, *arguments, **keywords):
        if figures.is_wanted(self):
            access.show_figure(self)
        figures.forget(self)
        return clear(self, *arguments, **keywords)

    module.Figure.clear = module.Figure.clf = clear_one


def take_over_plotly(renderers):
    renderers.show = lambda fig, *arguments, **keywords: _show_plotly(fig)


def take_over_plotly_pages(html):
    """Shows a page that is written to be opened, as by `plotly.offline.plot`. As a file, it
    would contain the library itself, 4 MB of script."""
    write_html = html.write_html

    def write_one(fig, *arguments, **keywords):
        if keywords.pop("auto_open", False):
            _show_plotly(fig)
        return write_html(fig, *arguments, **keywords)

    html.write_html = write_one


def _show_plotly(fig):
    from plotly.graph_objects import Figure

    access.display_within(Figure(fig) if isinstance(fig, dict) else fig)


def take_over_bokeh(showing):
    showing.show = lambda obj, *arguments, **keywords: access.display_within(obj)


def take_over_bokeh_output(output):
    """Replaces the output to a notebook, which would load the library there. Pages that are
    shown load it themselves."""
    output.output_notebook = lambda *arguments, **keywords: None


def take_over_pillow(image_show):
    class Viewer(image_show.Viewer):
        def show(self, image, **options):
            access.display_within(_png_of(image), "image/png")
            return 1

    image_show.register(Viewer, 0)


def _png_of(image):
    from io import BytesIO

    buffer = BytesIO()
    try:
        image.save(buffer, "PNG")
    except (OSError, ValueError):
        # A mode that PNG does not support: CMYK, floating point.
        buffer = BytesIO()
        image.convert("RGB").save(buffer, "PNG")
    return buffer.getvalue()


def take_over_ipython(display_functions):
    """Adapts the real IPython package, which displays values only inside of its own shell."""
    notebook = driver_module("notebook")
    for name in ("display", "publish_display_data", "update_display", "clear_output"):
        if hasattr(display_functions, name):
            setattr(display_functions, name, getattr(notebook, name))


def take_over_webbrowser(webbrowser):
    """Shows a page that belongs to the run and that the program opens. For any other page there
    is no browser."""

    class Browser(webbrowser.BaseBrowser):
        def open(self, url, new=0, autoraise=True):
            path = _path_of(url)
            if path is None:
                return False
            try:
                with open(path, encoding="utf-8") as file:
                    access.display_within(file.read(), "text/html")
                return True
            except (OSError, ValueError):
                return False

    webbrowser.register("belljar", None, Browser("belljar"), preferred=True)


def _path_of(url):
    from urllib.parse import unquote, urlsplit

    parts = urlsplit(url)
    is_page = parts.scheme in ("", "file") and parts.path.endswith((".html", ".htm"))
    return unquote(parts.path) if is_page else None
