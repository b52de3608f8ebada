"""CPython's own tests: the modules that are compared, and their results in a plain `python3`."""

from __future__ import annotations

import json
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from processes import run_to_end

# Programs written by agents use the language, the containers, text and data formats, files,
# concurrency and child processes. Left out: what needs a terminal, a display, a C compiler, a
# debugger, the network, hours, or that tests CPython's own build and tools.
MODULES = {
    "the language": """
        test_grammar test_syntax test_builtin test_types test_class test_descr test_metaclass
        test_decorators test_property test_super test_scope test_funcattrs test_generators
        test_coroutines test_asyncgen test_with test_patma test_exceptions test_exception_group
        test_except_star test_raise test_traceback test_fstring test_dataclasses test_enum test_abc
        test_typing test_named_expressions test_unpack test_compile test_ast test_gc test_weakref
        test_contextlib test_context test_inspect test_import test_importlib test_pkgutil test_runpy
        test_warnings test_sys test_sys_settrace test_marshal test_code test_faulthandler
    """,
    "numbers, containers and algorithms": """
        test_int test_long test_float test_complex test_bool test_math test_cmath test_decimal
        test_fractions test_statistics test_random test_list test_tuple test_dict test_set
        test_range test_slice test_collections test_deque test_defaultdict test_ordered_dict
        test_heapq test_bisect test_itertools test_functools test_operator test_array test_bytes
        test_memoryview test_struct test_sort test_copy test_graphlib test_hash
    """,
    "text and data formats": """
        test_json test_re test_unicode test_string test_format test_textwrap test_codecs
        test_unicodedata test_csv test_configparser test_tomllib test_xml_etree test_minidom
        test_html test_htmlparser test_email test_base64 test_binascii test_pickle test_zlib
        test_gzip test_bz2 test_lzma test_zipfile test_tarfile test_plistlib test_hashlib test_hmac
        test_secrets test_uuid test_datetime test_time test_calendar test_zoneinfo test_difflib
        test_pprint test_argparse test_logging test_urlparse test_ipaddress test_sqlite3 test_locale
    """,
    "files and the operating system": """
        test_os test_posix test_posixpath test_pathlib test_shutil test_tempfile test_glob
        test_fnmatch test_io test_fileio test_file test_bufio test_memoryio test_stat test_mmap
        test_fcntl test_signal test_resource test_platform test_pwd test_grp test_largefile
        test_filecmp test_fileinput test_ctypes test_errno
    """,
    "concurrency, child processes and loopback": """
        test_threading test_thread test_threading_local test_threadsignals test_queue test_sched
        test_asyncio test_selectors test_select test_poll test_epoll test_subprocess test_popen
        test_fork1 test_wait3 test_wait4 test_socket test_ssl test_httplib test_httpservers
        test_urllib test_urllib2_localnet test_concurrent_futures test_multiprocessing_fork
        test_multiprocessing_spawn test_multiprocessing_forkserver
        test_multiprocessing_main_handling
    """,
}

# In a plain process the program's `main` is called the way a sandbox calls it.
_CALL_MAIN = """
import json, runpy, sys
program, module, result_path = sys.argv[1:]
result = runpy.run_path(program)["main"]({"module": module})
with open(result_path, "w") as file:
    json.dump(result, file)
"""


class NoTestPackage(Exception):
    """This Python does not come with its tests."""


@dataclass(frozen=True)
class PythonBinary:
    path: Path
    version_text: str
    modules: dict[str, list[str]]


def python_binary(path: Path) -> PythonBinary:
    """A Python, with those of the listed modules that its test package contains."""
    asked = "import json, platform, pkgutil, test; print(json.dumps([platform.python_version(), [m.name for m in pkgutil.iter_modules(test.__path__)]]))"
    said = subprocess.run([path, "-c", asked], capture_output=True, text=True)
    if said.returncode != 0:
        raise NoTestPackage(
            f"{path} has no `test` package; name a Python that was built from source: {said.stderr.strip()[-200:]}"
        )
    version, present = json.loads(said.stdout)
    if "libregrtest" not in present:
        raise NoTestPackage(
            f"{path} has only a stub of the `test` package; name a Python that was built from source"
        )
    held = set(present)
    return PythonBinary(
        path,
        version,
        {group: [m for m in names.split() if m in held] for group, names in MODULES.items()},
    )


def run_plain(module: str, python: PythonBinary, program: Path, *, seconds: float) -> dict | str:
    """Returns the program's result, or the reason why there is none."""
    with tempfile.TemporaryDirectory(prefix="belljar-conformance-") as scratch:
        result = Path(scratch) / "result.json"
        env = {
            "PATH": f"{python.path.parent}:/usr/local/bin:/usr/bin:/bin",
            "HOME": scratch,
            "TMPDIR": scratch,
            "LANG": "C.UTF-8",
        }
        command = [str(python.path), "-c", _CALL_MAIN, str(program), module, str(result)]
        ended = run_to_end(command, cwd=Path(scratch), env=env, seconds=seconds)
        if result.exists():
            return json.loads(result.read_text())
        return f"exit code {ended.code}\n{ended.tail()}"
