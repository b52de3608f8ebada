"""Resolves a name in a network namespace of its own: `resolve.py (ipv6|no-ipv6) (netlink|no-netlink)`. Prints what came of it, JSON."""

import ctypes, errno, fcntl, json, os, shutil, socket, struct, subprocess, sys, threading

ipv6, netlink = sys.argv[1] == "ipv6", sys.argv[2] == "netlink"
libc = ctypes.CDLL(None, use_errno=True)


def must(answer):
    if answer != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def write(path, text):
    with open(path, "w") as file:
        file.write(text)


# Interfaces: lo up, with a second address next to the loopback address for each family.
SIOCSIFFLAGS, SIOCSIFADDR = 0x8914, 0x8916
for place in ("all", "default", "lo"):
    if os.path.exists(f"/proc/sys/net/ipv6/conf/{place}/disable_ipv6"):
        write(f"/proc/sys/net/ipv6/conf/{place}/disable_ipv6", "0" if ipv6 else "1")
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as four:
    fcntl.ioctl(four, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", 0x41))
    fcntl.ioctl(four, SIOCSIFADDR, struct.pack("16sHH4s8x", b"lo:1", socket.AF_INET, 0, socket.inet_aton("192.0.2.9")))
if ipv6:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as six:
        fcntl.ioctl(six, SIOCSIFADDR, struct.pack("16sIi", socket.inet_pton(socket.AF_INET6, "2001:db8::9"), 128, 1))

# A name server that knows one name.
MS_BIND, MS_PRIVATE, MS_REC = 0x1000, 0x40000, 0x4000
must(libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None))
files = {"resolv.conf": "nameserver 127.0.0.1\noptions timeout:2 attempts:2\n", "nsswitch.conf": "hosts: files dns\n", "hosts": "127.0.0.1 localhost\n"}
if all(os.path.exists(f"/etc/{name}") for name in files):
    for name, text in files.items():
        write(name, text)
        must(libc.mount(name.encode(), os.path.realpath(f"/etc/{name}").encode(), None, MS_BIND, None))
else:
    # A small system may lack some of them, and no one may create them here: use an /etc with nothing else.
    must(libc.mount(b"etc", b"/etc", b"tmpfs", 0, None))
    for name, text in files.items():
        write(f"/etc/{name}", text)
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 53))
ANSWERS = {1: socket.inet_aton("192.0.2.1"), 28: socket.inet_pton(socket.AF_INET6, "2001:db8::1")}


def serve():
    while True:
        question, asker = server.recvfrom(512)
        end = question.index(b"\0", 12) + 5
        kind = struct.unpack(">H", question[end - 4 : end - 2])[0]
        data = ANSWERS.get(kind)
        answer = b"" if data is None else struct.pack(">HHHIH", 0xC00C, kind, 1, 60, len(data)) + data
        server.sendto(question[:2] + struct.pack(">HHHHH", 0x8180, 1, int(data is not None), 0, 0) + question[12:end] + answer, asker)


threading.Thread(target=serve, daemon=True).start()

if not netlink:
    # What the base filter of a sandbox answers: socket(AF_NETLINK, ...) is EAFNOSUPPORT.
    number = 41 if os.uname().machine == "x86_64" else 198
    code = b"".join(
        struct.pack("HBBI", *instruction)
        for instruction in ((0x20, 0, 0, 0), (0x15, 0, 3, number), (0x20, 0, 0, 16), (0x15, 0, 1, 16), (0x06, 0, 0, 0x50000 | errno.EAFNOSUPPORT), (0x06, 0, 0, 0x7FFF0000))
    )
    buffer = ctypes.create_string_buffer(code)
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(code) // 8, ctypes.addressof(buffer)))
    must(libc.prctl(38, 1, 0, 0, 0))
    must(libc.prctl(22, 2, program, 0, 0))

reported = {}
try:
    socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0).close()
    reported["netlink"] = "there"
except OSError as error:
    reported["netlink"] = errno.errorcode[error.errno]
for name, flags in {"plain": 0, "configured": socket.AI_ADDRCONFIG}.items():
    found = [one[4][0] for one in socket.getaddrinfo("name.example", 80, type=socket.SOCK_STREAM, flags=flags)]
    reported[name] = sorted(found)
    reported["first"] = found[0]

NODE = """
const dns = require('node:dns').promises, { ADDRCONFIG } = require('node:dns');
const addresses = found => found.map(one => one.address).sort();
(async () => console.log(JSON.stringify({
  lookup: addresses(await dns.lookup('name.example', { all: true })),
  'lookup configured': addresses(await dns.lookup('name.example', { all: true, hints: ADDRCONFIG })),
  resolve4: await dns.resolve4('name.example'),
  resolve6: await dns.resolve6('name.example'),
})))();
"""
node = shutil.which("node")
reported["node"] = json.loads(subprocess.run([node, "-e", NODE], stdout=subprocess.PIPE, check=True).stdout) if node else "not installed"
print(json.dumps(reported))
