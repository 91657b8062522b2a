"""Replays a run from outside: W0 from the safetensors file, scalars from the journal, z from zo2_noise_fill, fmaf from libm, and nothing
else of the engine. The result must equal `zo2-pack export --dtype fp32` bit for bit.

Environment: BIN (folder of the tools), DATA (tests/data), LIBZO2 (the shared library). Exit status 77: skipped.
"""
import ctypes
import ctypes.util
import json
import os
import random
import struct
import subprocess
import sys
import tempfile

if os.environ.get("ZO2_SANITIZE"):
    sys.exit(77)  # the library can't be loaded into an uninstrumented Python

BIN, DATA = os.environ["BIN"], os.environ["DATA"]
zo2 = ctypes.CDLL(os.environ["LIBZO2"])
libm = ctypes.CDLL(ctypes.util.find_library("m"))
libm.fmaf.restype = ctypes.c_float
libm.fmaf.argtypes = [ctypes.c_float] * 3
zo2.zo2_noise_fill.argtypes = [ctypes.POINTER(ctypes.c_float), ctypes.c_uint64, ctypes.c_uint64, ctypes.c_uint32, ctypes.c_uint32,
                               ctypes.c_uint64, ctypes.c_uint64, ctypes.c_int]


def f32(x):
    """x rounded to float; exact for one +, - or * of floats done in double."""
    return ctypes.c_float(x).value


def safetensors(path):
    """{name: (dtype, shape, bytes)} of one file."""
    with open(path, "rb") as f:
        data = f.read()
    n = struct.unpack_from("<Q", data)[0]
    header = json.loads(data[8:8 + n])
    base = 8 + n
    return {k: (v["dtype"], v["shape"], data[base + v["data_offsets"][0]:base + v["data_offsets"][1]])
            for k, v in header.items() if k != "__metadata__"}


def floats(dtype, raw):
    if dtype == "F32":
        return list(struct.unpack("<%df" % (len(raw) // 4), raw))
    if dtype == "F16":
        return list(struct.unpack("<%de" % (len(raw) // 2), raw))
    return [struct.unpack("<f", b"\0\0" + raw[i:i + 2])[0] for i in range(0, len(raw), 2)]  # BF16


def journal(path):
    """Settings and records as storage/RUN.md lays them out."""
    with open(path, "rb") as f:
        data = f.read()
    head = {"seed": struct.unpack_from("<Q", data, 40)[0], "dist": struct.unpack_from("<I", data, 100)[0],
            "queries": struct.unpack_from("<I", data, 104)[0]}
    size = struct.unpack_from("<I", data, 16)[0]
    records = []
    for at in range(256, len(data), size):
        records.append({"step": struct.unpack_from("<Q", data, at + 8)[0], "d": struct.unpack_from("<f", data, at + 32)[0],
                        "skipped": struct.unpack_from("<I", data, at + 4)[0] & 1,
                        "c": [struct.unpack_from("<f", data, at + 64 + 32 * q)[0] for q in range(head["queries"])]})
    return head, records


def canonical_order(pack):
    out = subprocess.run([os.path.join(BIN, "zo2-pack"), "info", pack, "--json", "--tensors"], check=True, capture_output=True).stdout
    return [t["name"] for t in json.loads(out)["tensor_list"]]


def replay(w, tensor_id, decays, head, records):
    n = len(w)
    z = (ctypes.c_float * n)()
    for r in records:
        if r["skipped"]:
            continue
        d = r["d"] if decays else 0.0
        u = [f32(d * x) for x in w]
        for q, c in enumerate(r["c"]):
            assert zo2.zo2_noise_fill(z, head["seed"], r["step"], q, tensor_id, 0, n, head["dist"]) == 0
            u = [libm.fmaf(c, z[i], u[i]) for i in range(n)]
        w = [f32(a - b) for a, b in zip(w, u)]
    return w


def check(name, flags, work):
    model = os.path.join(DATA, "opt-fixtures", name)
    pack, run, out, data = (os.path.join(work, name + x) for x in (".zo2", ".run", ".out", ".jsonl"))
    rng = random.Random(3)
    with open(data, "w") as f:
        for _ in range(8):
            f.write(json.dumps({"tokens": [rng.randrange(90) for _ in range(9)]}) + "\n")
    tool = lambda t, *a: subprocess.run([os.path.join(BIN, t), *a], check=True, stdout=subprocess.DEVNULL)
    tool("zo2-pack", "convert", model, pack)
    tool("zo2-tune", "train", "--model", pack, "--data", data, "--run", run, "--steps", "4", "--batch", "4", "--lr", "1e-3", "--seed", "5",
         "--weight-decay", "0.1", "--quiet", *flags)
    tool("zo2-pack", "export", pack, out, "--run", run, "--dtype", "fp32")
    head, records = journal(os.path.join(run, "journal.zo2j"))
    assert len(records) == 4 and any(r["c"][0] for r in records)
    before, after = safetensors(os.path.join(model, "model.safetensors")), safetensors(os.path.join(out, "model.safetensors"))
    moved = 0
    for tensor_id, canonical in enumerate(canonical_order(pack)):
        source = next(before[p] for p in (canonical, canonical.replace("model.", "", 1), canonical.replace("model.decoder.", "", 1)) if p in before)
        decays = not (canonical.endswith(".bias") or "norm" in canonical)
        w0 = floats(source[0], source[2])
        want = replay(w0, tensor_id, decays, head, records)
        assert after[canonical][0] == "F32"
        assert struct.pack("<%df" % len(want), *want) == after[canonical][2], "%s differs" % canonical
        moved += want != w0
    assert moved == tensor_id + 1  # every tensor took updates
    print("%s: %d tensors equal bit for bit after %d steps" % (name, tensor_id + 1, len(records)))


with tempfile.TemporaryDirectory() as work:
    check("prenorm-f16-headdim20", [], work)
    check("no-bias-bf16", ["--queries", "2", "--dist", "rademacher", "--pending", "2", "--wire", "fp8-e4m3"], work)
    check("prenorm-f32", ["--wire", "fp8-e5m2", "--pending", "1"], work)
    check("bare-postnorm-f16", ["--wire", "fp16", "--dist", "rademacher"], work)
