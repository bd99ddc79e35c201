#!/usr/bin/env python3
"""Writes vectors.txt: what the standard demands, computed by other means than the package's."""
import base64, hashlib, hmac, zlib

E = "".join(l.strip().strip('"+ ').rstrip('" +') for l in open("../group.go").read().split("e     = ")[1].splitlines() if '"' in l)
GROUPS = {"null": None, "ffdhe2048": 560316, "ffdhe3072": 2625351, "ffdhe4096": 5736041, "ffdhe6144": 15705020, "ffdhe8192": 10965728}
HOST, SUBSYSTEM = b"nqn.2014-08.org.nvmexpress:uuid:00000000-0000-0000-0000-000000000001", b"nqn.2026-11.io.ashlar:prod.db"


def prime(name):
    b = int(name[5:])
    return 2**b - 2**(b - 64) + ((int(E, 16) >> (8064 - (b - 130))) + GROUPS[name]) * 2**64 - 1


def stream(label, n):
    out = b""
    while len(out) < n:
        out += hashlib.sha256(label.encode() + len(out).to_bytes(4, "big")).digest()
    return out[:n]


def dhhc(h, key):
    return "DHHC-1:%02d:%s:" % (h, base64.b64encode(key + zlib.crc32(key).to_bytes(4, "little")).decode())


def transformed(h, key, nqn):
    return key if h == 0 else hmac.digest(key, nqn + b"NVMe-over-Fabrics", ("sha256", "sha384", "sha512")[h - 1])


def response(algorithm, secret, shared, challenge, sequence, transaction, role, a, b):
    if shared is not None:
        challenge = hmac.digest(hashlib.new(algorithm, shared).digest(), challenge, algorithm)
    text = challenge + sequence.to_bytes(4, "little") + transaction.to_bytes(2, "little") + b"\0" + role + a + b"\0" + b
    return hmac.digest(secret, text, algorithm)


with open("vectors.txt", "w") as out:
    for i, algorithm in enumerate(("sha256", "sha384", "sha512")):
        for j, group in enumerate(GROUPS):
            name, size = algorithm + " " + group, hashlib.new(algorithm).digest_size
            kh, kc = stream("host " + name, (32, 48, 64)[j % 3]), stream("controller " + name, (64, 32, 48)[j % 3])
            hh, hc = (i + j) % 4, (i + j + 1) % 4
            x, y, shared = stream("x " + name, 64), stream("y " + name, 64), None
            gx = gy = b""
            if group != "null":
                p = prime(group)
                n = p.bit_length() // 8
                gx, gy = (pow(2, int.from_bytes(v, "big"), p).to_bytes(n, "big") for v in (x, y))
                shared = pow(2, int.from_bytes(x, "big") * int.from_bytes(y, "big"), p).to_bytes(n, "big")
            c1, c2, s1, s2, tid = stream("c1 " + name, size), stream("c2 " + name, size), 0x01020304 + j, 0xfffefd00 + i, 0x1234 + i
            r1 = response(algorithm, transformed(hh, kh, HOST), shared, c1, s1, tid, b"HostHost", HOST, SUBSYSTEM)
            r2 = response(algorithm, transformed(hc, kc, SUBSYSTEM), shared, c2, s2, tid, b"Controller", SUBSYSTEM, HOST)
            print(algorithm, group, HOST.decode(), SUBSYSTEM.decode(), dhhc(hh, kh), dhhc(hc, kc), tid, s1, s2,
                  *(v.hex() or "-" for v in (x, y, c1, c2)), *(hashlib.sha256(v).hexdigest() for v in (gx, gy)), r1.hex(), r2.hex(), file=out)
