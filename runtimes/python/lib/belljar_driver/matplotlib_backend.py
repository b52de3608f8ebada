"""matplotlib's backend in a sandbox: Agg, and `plt.show()` displays every open figure and closes it."""

from matplotlib.backends.backend_agg import FigureCanvasAgg as FigureCanvas
from matplotlib.backends.backend_agg import FigureManagerBase

from belljar_driver import access

__all__ = ["FigureCanvas", "FigureManager", "show"]

NAME = "module://belljar_driver.matplotlib_backend"


class FigureManager(FigureManagerBase):
    """Shows through `show` below; there is no window to manage."""

    @classmethod
    def pyplot_show(cls, *, block=None):
        show()

    def show(self):
        access.show_figures()


def show(*arguments, **keywords):
    access.show_figures()


def take_over(pyplot):
    """Makes this the backend, unless the program has chosen another than the variable MPLBACKEND gives it."""
    import matplotlib

    if str(matplotlib.rcParams._get("backend")).lower() == "agg":
        matplotlib.rcParams["backend"] = NAME
