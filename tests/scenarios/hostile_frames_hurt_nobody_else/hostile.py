"""Sends frames that no client sends; each on its own connection, which the broker may close."""

import os
import random
import socket
import struct
import sys

HOST, PORT = sys.argv[1].split(":")
DICE = random.Random(7)


def header(key, version, client=b"x"):
    return struct.pack(">hhih", key, version, 1, len(client)) + client


def framed(body, length=None):
    return struct.pack(">i", len(body) if length is None else length) + body


FRAMES = [
    framed(b"", -1),
    framed(b"", 2_147_483_647),
    framed(b""),
    framed(b"\x00"),
    framed(header(0, 7), 1_000_000),  # a promise that is not kept
    framed(header(3, 1) + struct.pack(">i", 2_000_000_000)),  # an array of two thousand million topics
    framed(header(3, 12) + b"\x00\xff\xff\xff\xff\x0f"),
    framed(header(0, 7) + struct.pack(">hhii", -1, 1, 1000, 1_500_000_000)),
    framed(header(1, 4) + struct.pack(">iiiib", -1, 100, 1, 1 << 30, 0) + struct.pack(">i", 1 << 30)),
    framed(header(11, 5) + b"\x7f\xff" + b"a" * 40),
    framed(header(30_001, 0) + struct.pack(">i", 1 << 30)),
    framed(header(32_767, 32_767)),
    framed(header(-1, -1)),
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + os.urandom(64),
]
for key in range(0, 70):
    for version in (0, 3, 9, 13):
        FRAMES.append(framed(header(key, version) + DICE.randbytes(DICE.randrange(0, 200))))

for frame in FRAMES:
    with socket.create_connection((HOST, int(PORT)), timeout=5) as connection:
        connection.settimeout(0.05)
        connection.sendall(frame)
        try:
            connection.recv(65536)
        except OSError:
            pass  # no answer and a closed connection are both fair
print("sent", len(FRAMES))
