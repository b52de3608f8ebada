"""matplotlib's figures: detects the ones that a program made to be looked at, and shows each of
them once.

A figure is shown by `plt.show()` and `display`, at the end of the run if it is still open, and
when it is closed or cleared if it was saved or shown without blocking before. matplotlib itself
is unchanged, except for the methods that would open a window (libraries.py).
"""

from belljar_driver import originals as __builtins__

from sys import modules

_PLOTTING = {"matplotlib", "mpl_toolkits", "seaborn"}
#: Maximum number of values that are inspected to recognise a by-product.
_MAX_VALUES = 10_000

#: Figures by identity, each with a weak reference, because a new figure may have the identity of
#: one that was freed.
_shown = {}
_wanted = {}


def figure_of(value):
    """Returns the figure that a value is or belongs to, or None for most values."""
    for base in type(value).__mro__:
        module, name = str(base.__module__), base.__name__
        if module == "matplotlib.figure" and name == "Figure":
            return value
        if module.startswith("matplotlib.axes") and name == "Axes" or module == "matplotlib.figure" and name == "SubFigure":
            return value.get_figure() if name == "Axes" else value.figure
        if module.startswith("seaborn.") and name in ("Grid", "JointGrid"):
            return value.figure
    return None


def is_by_product(value):
    """Returns whether a value is a by-product of plotting (`plt.title("x")`, `plt.hist(...)`):
    artists, in lists and arrays, and the arrays and lists of numbers that come with them. It is not
    meant as a result. A single number next to an artist is."""
    is_plotting, waiting, looked_at = False, [(value, 0)], 0
    while waiting and looked_at < _MAX_VALUES:
        item, depth = waiting.pop()
        looked_at += 1
        kind = type(item)
        package = str(kind.__module__).partition(".")[0]
        if package in _PLOTTING:
            is_plotting = True
        elif kind is list or kind is tuple:
            waiting.extend([(inner, depth + 1) for inner in item[:_MAX_VALUES]])
        elif kind is dict:
            waiting.extend([(inner, depth + 1) for inner in item.values()])
        elif package in ("numpy", "pandas") and kind.__name__ in ("ndarray", "Series"):
            waiting.extend([(inner, depth + 1) for inner in _objects_of(item)])
        elif not (isinstance(item, (int, float)) and depth > 1):
            return False
    return is_plotting


def _objects_of(array):
    if array.dtype != object:
        return []
    return (array.ravel() if type(array).__name__ == "ndarray" else array).tolist()


def png_of(figure):
    from io import BytesIO

    buffer = BytesIO()
    figure.savefig(buffer, format="png", bbox_inches="tight")
    return buffer.getvalue()


def is_blank(figure):
    """Returns whether a figure is empty. Its background counts as a child."""
    return len(figure.get_children()) <= 1


def open_figures():
    """Returns the figures that pyplot manages, by number, without making one of them the current
    figure."""
    helpers = modules.get("matplotlib._pylab_helpers")
    managers = [] if helpers is None else helpers.Gcf.get_all_fig_managers()
    return [manager.canvas.figure for manager in sorted(managers, key=lambda manager: manager.num)]


def close_all():
    pyplot = modules.get("matplotlib.pyplot")
    if pyplot is not None:
        pyplot.close("all")


def remember_shown(figure):
    _remember(_shown, figure)


def was_shown(figure):
    return _is_in(_shown, figure)


def remember_wanted(figure):
    """Remembers a figure that the program saved, or showed without waiting. It may still draw on
    it."""
    _remember(_wanted, figure)


def is_wanted(figure):
    """Returns whether a figure is still to be shown once the program has finished with it."""
    return _is_in(_wanted, figure) and not was_shown(figure) and not is_blank(figure)


def forget(figure):
    """Forgets a figure that was cleared: the next drawing is another picture."""
    _shown.pop(id(figure), None)
    _wanted.pop(id(figure), None)


def _remember(figures, figure):
    from weakref import ref

    figures[id(figure)] = ref(figure)


def _is_in(figures, figure):
    reference = figures.get(id(figure))
    return reference is not None and reference() is figure
