"""The names that code written for YepCode imports: `from yepcode import yepcode, logger`."""

from belljar_driver import access

__all__ = ["logger", "yepcode"]

yepcode = access.yepcode()


def __getattr__(name):
    # The logger costs the import of `logging`: only for who asks.
    if name == "logger":
        return access.logger()
    return getattr(yepcode, name)
