"""Loses, repeats and reorders packets that a pod sends, as netem does, which not every kernel has.

usage: impair.py LOSS DUPLICATION REORDERING      percent each; runs in the pod's namespace

Packets leave by a device of this program, are dropped, doubled or held back here, and go on by eth0.
"""

import fcntl
import heapq
import os
import random
import select
import stat
import struct
import subprocess
import sys
import time

LOSS, TWICE, LATE = (float(word) / 100 for word in sys.argv[1:4])
TUNSETIFF, TUN, NO_INFO = 0x400454CA, 0x0001, 0x1000
MOST_SECONDS = 0.004

if not os.path.exists("/dev/net/tun"):
    # Containers often start without it.
    os.makedirs("/dev/net", exist_ok=True)
    os.mknod("/dev/net/tun", 0o600 | stat.S_IFCHR, os.makedev(10, 200))
device = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", b"impaired", TUN | NO_INFO))
for line in """
link set impaired up
rule add iif impaired lookup 77
-6 rule add iif impaired lookup 77
route add default via 169.254.1.1 dev eth0 table 77 onlink
-6 route add default via fe80::1 dev eth0 table 77
route replace default dev impaired src ADDRESS
-6 route replace default dev impaired metric 1
""".strip().splitlines():
    if "ADDRESS" in line:
        shown = subprocess.run(["ip", "-4", "-o", "address", "show", "dev", "eth0"], capture_output=True, text=True, check=True)
        line = line.replace("ADDRESS", shown.stdout.split()[3].split("/")[0])
    subprocess.run(["ip", *line.split()], check=True)
for key, value in {
    "ipv4/ip_forward": 1,
    "ipv4/conf/all/rp_filter": 0,
    "ipv4/conf/impaired/rp_filter": 0,
    "ipv4/conf/impaired/accept_local": 1,
    "ipv6/conf/all/forwarding": 1,
}.items():
    with open(f"/proc/sys/net/{key}", "w") as file:
        file.write(str(value))
print("impaired", flush=True)

random.seed(23)
held = []
count = 0
while True:
    wait = max(0, held[0][0] - time.monotonic()) if held else None
    if select.select([device], [], [], wait)[0]:
        packet = os.read(device, 65536)
        copies = 0 if random.random() < LOSS else 2 if random.random() < TWICE else 1
        for _ in range(copies):
            count += 1
            late = random.uniform(0, MOST_SECONDS) if random.random() < LATE else 0
            heapq.heappush(held, (time.monotonic() + late, count, packet))
    while held and held[0][0] <= time.monotonic():
        try:
            os.write(device, heapq.heappop(held)[2])
        except OSError:
            pass
