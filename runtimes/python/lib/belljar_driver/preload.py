"""The modules of the standard library that a zygote imports in advance, so that a forked sandbox
has each of them at no cost."""

from belljar_driver import originals as __builtins__

# Modules that open something, draw a random number or start a thread when they are imported are not
# in the list. The exceptions are `random` and `multiprocessing`, which draw once; identity.py
# reseeds them in every child.
COMMON = """
    abc argparse array ast asyncio atexit base64 binascii bisect bz2 calendar cmath codecs collections collections.abc colorsys
    concurrent.futures concurrent.futures.process concurrent.futures.thread configparser contextlib contextvars copy csv
    dataclasses datetime decimal difflib dis email email.message email.mime.multipart email.mime.text email.parser enum errno
    fnmatch fractions functools gettext glob graphlib gzip hashlib heapq hmac html html.parser http.client http.cookies http.server
    importlib.metadata importlib.resources importlib.util inspect io ipaddress itertools json keyword linecache locale logging
    logging.handlers lzma marshal math mimetypes mmap multiprocessing multiprocessing.connection multiprocessing.pool
    multiprocessing.popen_fork multiprocessing.popen_spawn_posix multiprocessing.queues multiprocessing.shared_memory
    multiprocessing.synchronize numbers opcode operator os pathlib pickle pkgutil platform pprint queue quopri random re
    reprlib resource sched secrets select selectors shlex shutil signal smtplib socket socketserver sqlite3 ssl stat
    statistics string stringprep struct subprocess sysconfig tarfile tempfile textwrap threading time timeit token tokenize
    traceback types typing unicodedata unittest unittest.mock urllib.error urllib.parse urllib.request uuid warnings
    weakref xml.dom.minidom xml.etree.ElementTree zipfile zlib zoneinfo encodings.ascii encodings.idna encodings.latin_1
    encodings.utf_8_sig encodings.utf_16 encodings.cp1252
"""


def import_common_modules():
    """Imports all of them. A build of Python may lack some (sqlite3, lzma, ssl); an import in
    the program then fails as usual."""
    for name in COMMON.split():
        try:
            __import__(name)
        except ImportError:
            pass
