import ctypes, errno, os, struct, sys

attempts = {}


def attempt(name, action, *arguments):
    try:
        attempts[name] = f"done: {action(*arguments)}"
    except OSError as error:
        attempts[name] = errno.errorcode.get(error.errno, str(error.errno))
    except BaseException as error:
        attempts[name] = type(error).__name__


libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long

# x86-64, arm64
NUMBERS = {
    "ptrace": (101, 117), "syslog": (103, 116), "setuid": (105, 146), "setgid": (106, 144), "setgroups": (116, 159), "setresuid": (117, 147),
    "capset": (126, 91), "mknod": (133, -1), "personality": (135, 92), "prctl": (157, 167), "mount": (165, 40), "umount2": (166, 39),
    "swapon": (167, 224), "swapoff": (168, 225), "reboot": (169, 142), "sethostname": (170, 161), "iopl": (172, -1), "ioperm": (173, -1),
    "init_module": (175, 105), "delete_module": (176, 106), "acct": (163, 89), "settimeofday": (164, 170), "clock_settime": (227, 112),
    "pivot_root": (155, 41), "chroot": (161, 51), "quotactl": (179, 60), "setxattr": (188, 5), "shmget": (29, 194), "msgget": (68, 186),
    "semget": (64, 190), "mq_open": (240, 180), "io_setup": (206, 0), "kexec_load": (246, 104), "add_key": (248, 217),
    "request_key": (249, 218), "keyctl": (250, 219), "mbind": (237, 235), "unshare": (272, 97), "migrate_pages": (256, 238),
    "move_pages": (279, 239), "vmsplice": (278, 75), "perf_event_open": (298, 241), "fanotify_init": (300, 262),
    "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265), "setns": (308, 268), "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271), "kcmp": (312, 272), "finit_module": (313, 273), "seccomp": (317, 277), "memfd_create": (319, 279),
    "kexec_file_load": (320, 294), "bpf": (321, 280), "execveat": (322, 281), "userfaultfd": (323, 282), "clone": (56, 220),
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427), "open_tree": (428, 428),
    "move_mount": (429, 429), "fsopen": (430, 430), "fsconfig": (431, 431), "fsmount": (432, 432), "pidfd_open": (434, 434),
    "clone3": (435, 435), "openat2": (437, 437), "pidfd_getfd": (438, 438), "mount_setattr": (442, 442), "landlock_restrict_self": (446, 446),
    "memfd_secret": (447, 447), "fchmodat2": (452, 452), "map_shadow_stack": (453, 453), "mseal": (462, 462), "lookup_dcookie": (212, 18),
    "process_madvise": (440, 440), "fchmod": (91, 52), "fchmodat": (268, 53), "openat": (257, 56), "mkdirat": (258, 34), "mknodat": (259, 33),
    "rt_sigqueueinfo": (129, 138), "setrlimit": (160, 164), "prlimit64": (302, 261), "execve": (59, 221), "inotify_add_watch": (254, 27),
    "mmap": (9, 222), "madvise": (28, 233), "arch_prctl": (158, -1), "fadvise64": (221, 223), "tee": (276, 77), "preadv2": (327, 286),
    "pwritev2": (328, 287), "cachestat": (451, 451), "sync": (162, 81),
}


def number(name):
    return NUMBERS[name][0 if os.uname().machine == "x86_64" else 1]


def call(name, *arguments):
    """A system call; its answer, or OSError."""
    ctypes.set_errno(0)
    words = [value if isinstance(value, bytes) else ctypes.c_long(value) for value in arguments]
    answer = libc.syscall(ctypes.c_long(number(name)), *words)
    if answer == -1:
        raise OSError(ctypes.get_errno(), name)
    return answer
