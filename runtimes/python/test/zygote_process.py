"""A process of its own, started by test_forks: boots the driver as a zygote whose double of the
native library forks several sandboxes."""

import json
import os
import sys

test_folder = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, test_folder)
from native_double import NativeDouble  # noqa: E402

sys.path[0] = os.path.join(os.path.dirname(test_folder), "lib")
from belljar_driver import boot, session  # noqa: E402

del sys.path[0]


class ForkingDouble(NativeDouble):
    def start(self, rehearsal):
        pid = os.fork()
        if pid == 0:
            self.record, self.activation = (
                os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC),
                rehearsal,
            )
            return
        assert os.waitpid(pid, 0)[1] == 0
        for number in range(case["sandboxes"]):
            pid = os.fork()
            if pid == 0:
                self.record = os.open(
                    f"{case['record']}.{number}", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC
                )
                return
            os.waitpid(pid, 0)
        os._exit(0)


with open(sys.argv[1]) as file:
    case = json.load(file)
session.live.__defaults__ = (case["home"],)
rehearsed = os.path.relpath(
    os.path.join(os.path.dirname(test_folder), "rehearsal", "scout.py"), case["home"]
)
rehearsal = json.dumps({**case["activation"], "entry": rehearsed})
boot.main(
    ForkingDouble(json.dumps(case["activation"]), case["record"]),
    {"start": "fork", "cpus": [], "rehearsal": rehearsal},
)
