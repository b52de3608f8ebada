"""A process of its own, started by the tests: boots the driver over the double, in the working
folder that the test created."""

import json
import os
import sys

test_folder = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, test_folder)
from native_double import NativeDouble  # noqa: E402

sys.path[0] = os.path.join(os.path.dirname(test_folder), "lib")
from belljar_driver import boot, session  # noqa: E402

del sys.path[0]

with open(sys.argv[1]) as file:
    case = json.load(file)
native = NativeDouble(json.dumps(case["activation"]), case["record"], case["calls"], case["busy"])
session.live.__defaults__ = (case["home"],)
boot.main(native, {"start": case["start"], "cpus": [], "rehearsal": ""})
