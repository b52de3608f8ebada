# Prints what this interpreter is. Run with -I -S: no site, no user folder, no environment. Must parse on every Python 3, to refuse old ones well.
import json, os, sys

implementation = sys.implementation.name
# Extension modules load libraries of their own (OpenSSL, SQLite, libffi ...), which a jail has to show too.
for name in "_ssl _hashlib _ctypes _sqlite3 _lzma _bz2 zlib _uuid pyexpat _decimal _curses readline _gdbm _dbm _tkinter".split():
    try:
        __import__(name)
    except Exception:
        pass
libraries = set()
with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as maps:
    for line in maps:
        fields = line.rstrip("\n").split(None, 5)
        if len(fields) == 6 and fields[5].startswith("/") and ".so" in os.path.basename(fields[5]):
            libraries.add(fields[5])
json.dump({
    "implementation": implementation,
    "version": "%d.%d.%d" % tuple(sys.version_info[:3]),
    "executable": sys.executable,
    "base_executable": getattr(sys, "_base_executable", sys.executable),
    "prefix": os.path.realpath(sys.prefix),
    "base_prefix": os.path.realpath(sys.base_prefix),
    "stdlib": os.path.dirname(os.path.realpath(os.__file__)),
    "extensions": [os.path.realpath(entry) for entry in sys.path if os.path.basename(entry) == "lib-dynload"],
    "libraries": sorted(libraries),
}, sys.stdout)
