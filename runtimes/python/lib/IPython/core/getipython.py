from IPython import get_ipython  # noqa: F401
