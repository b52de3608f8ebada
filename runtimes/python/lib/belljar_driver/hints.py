"""Explains an error that leaves the program by the denial that it comes from, if it does."""

from belljar_driver import originals as __builtins__

from errno import EACCES, EAGAIN, ECONNREFUSED, EHOSTUNREACH, ENETUNREACH, ENOENT, ENOSYS, EPERM, EROFS

from belljar_driver import denials

MAX_LINKS = 8

_REFUSED = {EACCES, EPERM, ENETUNREACH, EHOSTUNREACH, ECONNREFUSED, EROFS, ENOENT, EAGAIN, ENOSYS}


def explain(error, watch):
    """The denial behind an error, or None."""
    for link in _chain(error):
        if isinstance(link, OSError) and not getattr(link, "explains_itself", False):
            denial = _explain_one(link, watch)
            if denial is not None:
                return denial
    return None


def add_to(report, denial):
    """Puts the hint where a person or a model reads it: in the message, and under the stack."""
    report["message"] = f"{report['message']}: {denial.hint}" if report["message"] else denial.hint
    report["stack"] = f"{report['stack']}\nhint: {denial.hint}"


def _explain_one(error, watch):
    number, path = error.errno, denials.absolute(error.filename2 or error.filename)
    if path is not None:
        return _explain_path(number, path, watch)
    if _is_resolution(error):
        return _last(watch, ("net.resolve", "net.connect"))
    if number not in _REFUSED:
        return None
    if _came_from(error, ("/subprocess.py", "/multiprocessing/")):
        return None if watch.grants.may_exec else _last(watch, ("exec",)) or denials.exec_denial("fork")
    if number in (EACCES, EPERM, EAGAIN, ENOSYS):
        return _last(watch, ("net.connect", "net.resolve", "net.listen", "exec"))
    return _last(watch, ("net.connect", "net.resolve", "net.listen"))


def _explain_path(number, path, watch):
    attempted = next((denial for denial in watch.recent if denial.action in ("fs.write", "exec") and denial.target == path), None)
    if attempted is not None:
        return attempted
    if number in (EACCES, EPERM):
        program = _last(watch, ("exec",))
        if program is not None and path.endswith("/" + program.target.rpartition("/")[2]):
            return program
    if number in (ENOENT, EACCES, EPERM) and not watch.grants.may_read(path):
        denial = denials.read_denial(path)
        watch.tell(denial)
        return denial
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
    """The error, what it came from, and what it carries (`urllib`'s `reason`, an argument, a group's exceptions)."""
    waiting, seen = [error], set()
    while waiting and len(seen) < MAX_LINKS:
        link = waiting.pop(0)
        if not isinstance(link, BaseException) or id(link) in seen:
            continue
        seen.add(id(link))
        yield link
        waiting += [link.__cause__, link.__context__, getattr(link, "reason", None)]
        waiting += [item for item in (*link.args, *getattr(link, "exceptions", ())) if isinstance(item, BaseException)]
