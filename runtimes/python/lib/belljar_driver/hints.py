"""Hints for an error that ends the program: the denied access that caused it, the limit that was
reached, or the place of the file that was not found."""

from belljar_driver import originals as __builtins__

from errno import EACCES, EAGAIN, ECONNREFUSED, EDQUOT, EHOSTUNREACH, EMFILE, ENETUNREACH, ENOENT, ENOSPC, ENOSYS, EPERM, EROFS
from posix import scandir, statvfs

from belljar_driver import denials
from belljar_driver.text import quote

MAX_LINKS = 8
#: Maximum number of entries of the working folder that are searched for a file.
MAX_ENTRIES = 2000

_REFUSED = {EACCES, EPERM, ENETUNREACH, EHOSTUNREACH, ECONNREFUSED, EROFS, ENOENT, EAGAIN, ENOSYS}
_NOT_THERE = {ENOENT, EACCES, EPERM, EROFS}
#: Folders in which other sandbox products keep a run's files.
_FOLDERS_OF_OTHERS = ("/mnt/data", "/mnt/user-data", "/mnt/outputs", "/content", "/kaggle", "/workspace", "/output", "/outputs", "/input", "/inputs", "/sandbox")


class Hint:
    """A hint that does not name a grant."""

    def __init__(self, text):
        self.hint = text


class Run:
    """The facts about a run that hints are made from: the accesses that it attempted, its limits,
    its working folder, and the source of its program."""

    def __init__(self, watch, limits, home, source):
        self.watch = watch
        self.limits = limits
        self.home = home
        self.source = source


def explain(error, run):
    """Returns the denial that caused an error, or another hint, or None."""
    for link in _chain(error):
        hint = _explain_any(link, run)
        if hint is not None:
            return hint
        if isinstance(link, OSError) and not getattr(link, "explains_itself", False):
            found = _explain_one(link, run)
            if found is not None:
                return found
    return None


def _explain_any(error, run):
    if isinstance(error, SyntaxError):
        from belljar_driver import syntax_hints

        text = syntax_hints.hint_for(error, run.source)
        return None if text is None else Hint(text)
    if isinstance(error, EOFError) and _reads_input(error):
        return Hint("input() reads the run's standard input, which is at its end; give it with stdin (--stdin)")
    if isinstance(error, MemoryError):
        return Hint(f"the run may have {_size(run, 'memory_bytes')} of memory; raise limits.memory_bytes (--memory)")
    if isinstance(error, RuntimeError) and "can't start new thread" in str(error) or isinstance(error, BlockingIOError) and _came_from(error, ("/subprocess.py", "/multiprocessing/")):
        count = run.limits.get("processes")
        return Hint(f"the run may have {count} processes and threads at once; use fewer, or raise limits.processes (--processes)")
    return None


def _reads_input(error):
    return "reading a line" in str(error) or _came_from(error, ("/getpass.py",))


def _size(run, name):
    value = run.limits.get(name) or 0
    for unit, factor in (("GB", 1 << 30), ("MB", 1 << 20), ("KB", 1 << 10)):
        if value >= factor:
            return f"{value / factor:g} {unit}" if value % factor == 0 else f"{value / factor:.1f} {unit}"
    return f"{value} bytes"


def add_to(report, denial):
    """Adds the hint where a person or a model reads it: in the message, and under the stack."""
    report["message"] = f"{report['message']}: {denial.hint}" if report["message"] else denial.hint
    report["stack"] = f"{report['stack']}\nhint: {denial.hint}"


def _explain_one(error, run):
    watch = run.watch
    number, path = error.errno, denials.absolute(error.filename2 or error.filename or _path_in(error))
    if number == EMFILE:
        return Hint(f"a process of the run may have {run.limits.get('open_files')} files open; close them, or raise limits.open_files (--open-files)")
    if number in (ENOSPC, EDQUOT):
        return _explain_full(path, run)
    if path is not None:
        return _explain_path(number, path, run)
    if _is_resolution(error):
        return _last(watch, ("net.resolve", "net.connect"))
    if number not in _REFUSED:
        return None
    if _came_from(error, ("/subprocess.py", "/multiprocessing/")):
        return None if watch.grants.may_exec else _last(watch, ("exec",)) or denials.exec_denial("fork")
    if number in (EACCES, EPERM, EAGAIN, ENOSYS):
        return _last(watch, ("net.connect", "net.resolve", "net.listen", "exec"))
    return _last(watch, ("net.connect", "net.resolve", "net.listen"))


def _path_in(error):
    """Returns the path that the message of an error quotes, if the error has no path of its own."""
    if not isinstance(error, (FileNotFoundError, PermissionError)):
        return None
    text = str(error)
    start = text.find("'/")
    end = text.find("'", start + 1)
    return text[start + 1 : end] if 0 <= start < end else None


def _explain_full(path, run):
    if path is not None and not (path + "/").startswith((run.home + "/", "/tmp/", "/dev/shm/")):
        return None
    try:
        is_out_of_files = statvfs(run.home).f_ffree == 0
    except OSError:
        is_out_of_files = False
    if is_out_of_files:
        return Hint(f"the run may have {run.limits.get('files')} files; remove some, or raise limits.files (--max-files)")
    return Hint(f"the run may write {_size(run, 'disk_bytes')} of files; write less, or raise limits.disk_bytes (--disk)")


def _explain_path(number, path, run):
    watch = run.watch
    attempted = next((denial for denial in watch.recent if denial.action in ("fs.write", "exec") and denial.target == path), None)
    name = path.rpartition("/")[2]
    if attempted is not None and attempted.action == "fs.write":
        return Hint(f"write to {quote('outputs/' + name)}, which is handed back with the outcome; {attempted.hint}")
    if attempted is not None:
        return attempted
    if number in (EACCES, EPERM):
        program = _last(watch, ("exec",))
        if program is not None and path.endswith("/" + program.target.rpartition("/")[2]):
            return program
    if number in _NOT_THERE:
        place = _place_in(run.home, name)
        if place is not None and f"{run.home}/{place}" != path:
            return Hint(f"{path} is not there; among the run's files is {quote(place)}: open it by that path, from the working folder")
        if (path + "/").startswith(tuple(folder + "/" for folder in _FOLDERS_OF_OTHERS)) and not watch.grants.may_read(path):
            return Hint(f"{path} is not there; the run's files are in the working folder, {run.home}, and what is written to outputs/ there is handed back")
        if number == ENOENT and path.startswith("/proc/"):
            memory = _size(run, "memory_bytes")
            return Hint(f"the sandbox has no {path}, as its /proc shows the run's own processes only; the run may have {memory} of memory (limits.memory_bytes)")
    if number in (ENOENT, EACCES, EPERM) and not watch.grants.may_read(path):
        denial = denials.read_denial(path)
        watch.report(denial)
        return denial
    return None


def _place_in(home, name):
    """Returns the path of a file with that name, relative to the working folder."""
    if not name:
        return None
    folders, seen = [""], 0
    while folders:
        folder = folders.pop(0)
        try:
            with scandir(f"{home}/{folder}") as entries:
                for entry in entries:
                    seen += 1
                    if seen > MAX_ENTRIES:
                        return None
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(f"{folder}{entry.name}/")
                    elif entry.name == name:
                        return folder + name
        except OSError:
            continue
    return None


def _is_resolution(error):
    return type(error).__name__ == "gaierror"


def _last(watch, actions):
    return next((denial for denial in watch.recent if denial.action in actions), None)


def _came_from(error, parts):
    traceback = error.__traceback__
    while traceback is not None:
        if any(part in traceback.tb_frame.f_code.co_filename for part in parts):
            return True
        traceback = traceback.tb_next
    return False


def _chain(error):
    """Returns the error, its causes, and the errors that it contains (`urllib`'s `reason`, an
    argument, the exceptions of a group)."""
    waiting, seen = [error], set()
    while waiting and len(seen) < MAX_LINKS:
        link = waiting.pop(0)
        if not isinstance(link, BaseException) or id(link) in seen:
            continue
        seen.add(id(link))
        yield link
        waiting += [link.__cause__, link.__context__, getattr(link, "reason", None)]
        waiting += [item for item in (*link.args, *getattr(link, "exceptions", ())) if isinstance(item, BaseException)]
