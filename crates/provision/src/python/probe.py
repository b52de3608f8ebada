# Prints the properties of this interpreter. Run with -I -S: no site, no user folder and no
# environment. It must parse on every Python 3, so that old versions are refused with a proper error.
import json, os, sys

# Extension modules load libraries of their own (OpenSSL, SQLite, libffi ...), which a jail has to
# show too.
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
# A virtual environment made of copies has an interpreter of its own, and its configuration has the
# path of the real one. Without site, sys.prefix is the same for both.
real = sys.executable
folder = os.path.dirname(sys.executable)
for place in (folder, os.path.dirname(folder)):
    try:
        with open(os.path.join(place, "pyvenv.cfg"), encoding="utf-8") as lines:
            settings = dict([part.strip() for part in line.split("=", 1)] for line in lines if "=" in line)
    except OSError:
        continue
    names = (os.path.basename(sys.executable), "python%d.%d" % tuple(sys.version_info[:2]), "python3")
    candidates = [os.path.join(settings.get("home", folder), name) for name in names]
    real = ([path for path in candidates if os.path.exists(path)] or [real])[0]
    break
# The folders of packages, and of the headers that their builds need, in every scheme of this build
# (Debian's has several).
packages, headers = set(), set()
try:
    import site, sysconfig

    packages.update(site.getsitepackages([sys.base_prefix, sys.base_exec_prefix]))
    base = {"base": sys.base_prefix, "platbase": sys.base_exec_prefix}
    for scheme in sysconfig.get_scheme_names():
        if "user" not in scheme and scheme != "nt":
            paths = sysconfig.get_paths(scheme, base)
            packages.update(paths[name] for name in ("purelib", "platlib"))
            headers.update(paths[name] for name in ("include", "platinclude"))
except Exception:
    pass
json.dump({
    "implementation": sys.implementation.name,
    "version": "%d.%d.%d" % tuple(sys.version_info[:3]),
    "level": sys.version_info[3],
    "executable": real,
    "prefix": os.path.realpath(sys.base_prefix),
    "stdlib": os.path.dirname(os.path.realpath(os.__file__)),
    "extensions": [os.path.realpath(entry) for entry in sys.path if os.path.basename(entry) == "lib-dynload"],
    "libraries": sorted(libraries),
    "packages": sorted(set(path for path in map(os.path.realpath, packages) if path.endswith("-packages"))),
    "headers": sorted(set(filter(os.path.isdir, map(os.path.realpath, headers)))),
}, sys.stdout)
