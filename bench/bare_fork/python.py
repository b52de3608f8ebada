"""python3 -I -S python.py RUNS: forks a booted CPython into new namespaces, and prints the
milliseconds of each fork, from before it to the child's end."""

import ctypes
import json
import os
import sys
import time

# Modules that agents' programs commonly need are imported before the fork, as in a zygote.
import asyncio, collections, csv, datetime, decimal, hashlib, itertools  # noqa: E401, F401
import random, re, ssl, statistics, subprocess, tempfile, threading  # noqa: E401, F401

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWPID = 0x20000, 0x4000000, 0x8000000, 0x20000000
libc = ctypes.CDLL(None, use_errno=True)


def call(function, *arguments):
    if function(*arguments) != 0:
        raise OSError(ctypes.get_errno(), f"{function.__name__} was refused")


own = os.open("/proc/self/ns/pid", os.O_RDONLY)
times = []
for _ in range(int(sys.argv[1])):
    began = time.perf_counter()
    call(libc.unshare, CLONE_NEWPID)
    child = os.fork()
    if child == 0:
        call(libc.unshare, CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS)
        os._exit(0 if eval("1 + 1") == 2 else 1)
    call(libc.setns, own, CLONE_NEWPID)
    if os.waitpid(child, 0)[1] != 0:
        sys.exit("the child failed")
    times.append((time.perf_counter() - began) * 1000)
print(json.dumps(times))
