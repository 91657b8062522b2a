"""A link of two network namespaces that delays every packet: delayed_hosts.py NAMESPACE NAMESPACE SECONDS. It makes the device "delayed" in
each, with addresses 10.78.78.1 and .2, prints "ready" and carries packets until it is killed. (netem would do, where the kernel has it.)"""

import collections
import ctypes
import fcntl
import os
import select
import struct
import subprocess
import sys
import time

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 1, 0x1000


def device(namespace, number):
    with open("/run/netns/" + namespace, encoding="ascii") as f:
        if ctypes.CDLL(None, use_errno=True).setns(f.fileno(), 0):
            sys.exit("setns: " + os.strerror(ctypes.get_errno()))
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", b"delayed", IFF_TUN | IFF_NO_PI))
    for command in (f"addr add 10.78.78.{number}/24 dev delayed", "link set delayed up", "link set lo up"):
        subprocess.run(["ip", *command.split()], check=True)
    return fd


def main():
    ends = [device(sys.argv[1], 1), device(sys.argv[2], 2)]
    delay = float(sys.argv[3])
    print("ready", flush=True)
    waiting = collections.deque()
    while True:
        wait = max(0, waiting[0][0] - time.monotonic()) if waiting else None
        for fd in select.select(ends, [], [], wait)[0]:
            try:
                while True:
                    packet = os.read(fd, 1 << 16)
                    waiting.append((time.monotonic() + delay, ends[1 - ends.index(fd)], packet))
            except BlockingIOError:
                pass
        while waiting and waiting[0][0] <= time.monotonic():
            _, end, packet = waiting.popleft()
            try:
                os.write(end, packet)
            except OSError:
                pass  # as a network does


main()
