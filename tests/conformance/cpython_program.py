"""The program that runs one module of CPython's own tests, as `python -m test MODULE` would, in a
sandbox or in a plain process.

Its result is `{"exit_code": n, "tests": {name: "passed" | "skipped: why" | "failed: why"}, "output": the tail of what was printed}`.
"""

import os
import runpy
import sys
import tempfile
import xml.etree.ElementTree

# In a virtual machine these tests of test_socket call the hypervisor, and hang if it does not
# answer.
HYPERVISOR = "*VSOCK*"
# The system call filter refuses sockets of UDP-Lite, whatever the policy. The first of these tests
# ends the thread of a client with an error, which makes the test runner drop the results of all
# tests of test_socket.
UDP_LITE = "*UDPLITE*"


def main(parameters):
    with tempfile.TemporaryDirectory() as scratch:
        report = os.path.join(scratch, "report.xml")
        # No resource (`-u`) is granted, so no test uses the network, a display or gigabytes of
        # disk.
        ignored = ["--ignore", HYPERVISOR, "--ignore", UDP_LITE]
        sys.argv = ["test", "--junit-xml", report, *ignored, parameters["module"]]
        try:
            runpy.run_module("test", run_name="__main__", alter_sys=True)
            exit_code = 0
        except SystemExit as ended:
            exit_code = ended.code or 0
        tests = results_by_name(report) if os.path.exists(report) else {}
    return {"exit_code": exit_code, "tests": tests}


def results_by_name(report):
    tests = {}
    for case in xml.etree.ElementTree.parse(report).getroot().iter("testcase"):
        name = case.get("name")
        # Doctests of one module share a name: the second of it is `name #2`.
        same = 1
        unique = name
        while unique in tests:
            same += 1
            unique = f"{name} #{same}"
        tests[unique] = "passed"
        for child in case:
            if child.tag in ("failure", "error"):
                tests[unique] = "failed: " + (child.text or "")[-1500:]
            elif child.tag == "skipped":
                tests[unique] = "skipped: " + (child.text or "")
    return tests
