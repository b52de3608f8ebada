"""What programs written for notebooks import from IPython, where the package itself is not
installed: see `IPython.display`."""

from belljar_driver.notebook import display

__all__ = ["display", "get_ipython"]
__version__ = "8.37.0"
version_info = (8, 37, 0, "")


def get_ipython():
    """There is no shell: this is what IPython answers outside of one."""
    return None
