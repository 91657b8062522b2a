#!/usr/bin/env python3
"""zo2-bench --json: keys, ratios that are the figures' own, and peers whose answers are known: a script stands in for
Python and says half a second to everything."""
import json
import os
import subprocess
import sys
import tempfile

BENCH = os.path.join(os.environ["BIN"], "zo2-bench")
MODEL = os.path.join(os.environ["DATA"], "tiny-opt", "model", "config.json")
FAKE = """#!/bin/sh
case $1 in
    *.py) [ -f "$1" ] || exit 1 ;;
    *) exit 1 ;;
esac
echo ready 9.9
while read -r request; do
    echo "$request" >>"$REQUESTS"
    echo 0.5 4000000
done
"""
# A fio that reads and writes 1 GB/s and uses a quarter of a nanosecond of a CPU for a byte.
FIO = """#!/bin/sh
[ "$1" != --version ] || exec echo fio-9.9
echo "$GLIBC_TUNABLES $*" >>"$REQUESTS"
way='{"io_bytes": 4000000000, "bw_bytes": 1000000000}'
echo '{"jobs": [{"usr_cpu": 30, "sys_cpu": 20, "job_runtime": 2000, "read": '"$way"', "write": '"$way"'}]}'
"""
failures = 0


def check(ok, what):
    global failures
    if not ok:
        failures += 1
        print("FAILED:", what)


def near(a, b):
    return abs(a - b) <= 1e-9 * abs(b)


def bench(folder, *arguments):
    environment = dict(os.environ, TMPDIR=folder, REQUESTS=os.path.join(folder, "requests"),
                       PATH=folder + os.pathsep + os.environ["PATH"])
    run = subprocess.run(
        [BENCH, "--json", "--repeats", "3", "--seconds", "0", "--bytes", "64K", "--model", MODEL, "--tokens", "5",
         "--threads", "2", "--backend", "cpu", "--wire", "bf16", "--python", os.path.join(folder, "python"), *arguments],
        stdout=subprocess.PIPE, text=True, env=environment, check=True)
    return json.loads(run.stdout)


def check_storage(folder):
    with open(os.path.join(folder, "fio"), "w", encoding="ascii") as f:
        f.write(FIO)
    os.chmod(os.path.join(folder, "fio"), 0o755)
    rows = {row["name"].split(",")[0]: row for row in bench(folder, "storage", "--dir", folder)["results"]}
    with open(os.path.join(folder, "requests"), encoding="ascii") as f:
        requests = f.read().splitlines()
    check(sorted(os.listdir(folder)) == ["fio", "python", "requests"], f"storage: left behind: {os.listdir(folder)}")
    for way in ("read", "write"):
        row, cpu = rows[way], rows[f"CPU time of a {way}"]
        check(row["unit"] == "GB/s" and row["items"] == 4 << 20, f"storage: {way}")
        check([s["key"] for s in row["against"]][-2:] == ["fio_2m", "fio_4m"], f"storage: {way}: sides")
        for mib in ("2", "4"):
            check(near(row[f"fio_{mib}m_ratio"], row["median"]), f"storage: {way}: fio_{mib}m_ratio")
            check(near(cpu[f"fio_{mib}m_ratio"], 250 / cpu["median"]), f"storage: CPU of {way}: fio_{mib}m_ratio")
            check(any(f"--rw={way}" in r and f"--bs={mib}m" in r and "hugetlb=1" in r and "/proc/" in r
                      for r in requests), f"storage: no fio for {way} of {mib} MiB")
        if "read by pread threads" in rows: # io_uring isn't refused here
            threads = rows[f"{way} by pread threads"]
            check(near(threads["fio_2m_ratio"], threads["median"]), f"storage: {way} by threads")
            check(near(row["threads_ratio"], row["median"] / threads["median"]), f"storage: {way}: threads_ratio")


def check_tune(folder):
    steps, cpu, moved, *layers = bench(folder, "tune", "--tune", "layers=5", "--tokens", "64")["results"]
    check(steps["unit"] == cpu["unit"] == "s/step" and moved["unit"] == "MB/step", "tune: units")
    check([s["key"] for s in steps["against"]] == ["part", "kept"], "tune: sides")
    check(cpu["median"] > 0 and max(cpu["kept_ratio"], cpu["part_ratio"]) < 1, "tune: a part takes as much of the CPUs")
    check(moved["part_ratio"] > moved["kept_ratio"] > 0, "tune: a kept trunk is uploaded")
    check([row["name"] for row in layers] == ["layers that are uploaded", "layers that are multiplied"], "tune: rows")
    for row in layers:
        check((row["median"], row["part_ratio"]) == (6, 1) and near(row["kept_ratio"], 1 / 6), f"tune: {row['name']}")


def check_wires(folder):
    """Errors of the weights are what the codecs' own definitions say; correlations are those of as many directions as are affordable here."""
    pack = os.path.join(folder, "tiny.zo2")
    data = os.path.join(os.environ["DATA"], "tiny-opt", "data", "proverbs.test.jsonl")
    subprocess.run([os.path.join(os.environ["BIN"], "zo2-pack"), "convert", os.path.dirname(MODEL), pack],
                   stdout=subprocess.DEVNULL, check=True)
    wires = {}

    def through(name, *tune):
        return bench(folder, "wires", "--model", pack, "--data", data, "--directions", "6", "--batch", "2", "--tokens", "16",
                     "--wire", name, *tune)

    for name in ("bf16", "fp8-e4m3"): # --wire leaves one, and fp32, which it is compared with
        result = through(name)
        table = result["wires"]["table"]
        check([row["wire"] for row in table] == ["fp32", name], f"wires: rows {table}")
        wires.update((row["wire"], row) for row in table)
    check(not result["results"] and result["wires"]["directions"] == 6 and result["wires"]["loss_lines"] == 12, "wires: settings")
    fp32, bf16, e4m3 = wires["fp32"], wires["bf16"], wires["fp8-e4m3"]
    check(fp32["error"] == fp32["worst_error"] == fp32["loss_difference"] == 0 and fp32["bits"] == 32, "wires: fp32")
    check(abs(fp32["correlation"] - 1) < 1e-12 and fp32["worst_tensor"] is None, "wires: fp32 with itself")
    check(0.001 < bf16["error"] <= bf16["worst_error"] < 0.0025 and bf16["bits"] == 16, "wires: bf16")
    check(e4m3["error"] > 10 * bf16["error"] and e4m3["worst_error"] > e4m3["error"] and 8.1 < e4m3["bits"] < 8.2, "wires: e4m3")
    check(0.9 < e4m3["correlation"] < bf16["correlation"] < 1, "wires: correlations")
    check(0 < abs(bf16["loss_difference"]) < abs(e4m3["loss_difference"]) < 0.1, "wires: losses")
    check(near(e4m3["loss"] - fp32["loss"], e4m3["loss_difference"]) and 3 < fp32["loss"] < 6, "wires: the loss itself")
    check(e4m3["worst_tensor"].endswith(".weight") and e4m3["refused"] is None, "wires: the worst tensor")
    # With --tune matrices that don't move have the wire: all where vectors move; of all but a layer's the loss is another one, by more than
    # what rounding of sums in another order makes of it.
    vectors, layer = (through("fp8-e4m3", "--tune", what)["wires"] for what in ("vectors", "layers=2"))
    check(vectors["table"][1]["loss"] == e4m3["loss"], "wires: not all frozen matrices have the wire")
    check(layer["tune"] == "layers=2" and abs(layer["table"][0]["loss"] - fp32["loss"]) < 1e-6, "wires: fp32 with --tune")
    check(abs(layer["table"][1]["loss"] - e4m3["loss"]) > 1e-5, "wires: what moves isn't exact")
    check(0.9 < layer["table"][1]["correlation"] < 1, "wires: correlation with --tune")
    check(through("fp8-e4m3", "--tune", "all")["wires"]["table"][1]["correlation"] == e4m3["correlation"], "wires: --tune all")
    check(sorted(os.listdir(folder)) == ["fio", "python", "requests", "tiny.zo2"], f"wires: left behind: {os.listdir(folder)}")


def rows_of(result, section):
    return [row for row in result["results"] if row["section"] == section]


def main():
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "python"), "w", encoding="ascii") as f:
            f.write(FAKE)
        os.chmod(os.path.join(folder, "python"), 0o755)
        result = bench(folder)
        with open(os.path.join(folder, "requests"), encoding="ascii") as f:
            requests = f.read().splitlines()
        check(sorted(os.listdir(folder)) == ["python", "requests"], f"left behind: {os.listdir(folder)}")
        check_storage(folder)
        check_tune(folder)
        check_wires(folder)

    for key in ("version", "cpu", "cpus", "simd", "threads", "repeats", "seconds", "bytes", "results", "not_installed"):
        check(key in result, f"no key {key}")
    check(result["threads"] == 2 and result["repeats"] == 3 and result["bytes"] == 65536, "settings")
    for section in ("noise", "codec", "update", "gemm", "attention", "panels", "link", "step", "rates"):
        check(rows_of(result, section), f"no rows of {section}")
    check(not any(rows_of(result, section) for section in ("storage", "convert", "tune")) and "wires" not in result,
          "a section that is to be named")

    for row in result["results"]:
        name = f"{row['section']}: {row['name']}"
        check(0 < row["min"] <= row["median"] <= row["max"], f"{name}: min, median, max")
        check(row["unit"] in ("ns/value", "G weights/s", "GFLOP/s", "GB/s", "us", "ms", "s/step",
                                "bytes/parameter"), f"{name}: unit")
        check(bool(row["against"]) != (row["section"] == "rates"), f"{name}: against what")
        ratios = {key for key in row if key.endswith("_ratio")}
        check(ratios == {side["key"] + "_ratio" for side in row["against"]}, f"{name}: ratios {ratios}")
        for side in row["against"]:
            check(0 < side["min"] <= side["median"] <= side["max"], f"{name}: {side['key']}")
            check(side["kind"] in ("limit", "peer"), f"{name}: kind")
            speed = side["median"] / row["median"] if row["lower_is_better"] else row["median"] / side["median"]
            check(near(row[side["key"] + "_ratio"], speed), f"{name}: {side['key']}_ratio")
        if row["section"] in ("codec", "update", "panels"):
            check(row["gb_per_s"] > 0, f"{name}: GB/s")

    def side(row, key):
        return next(s for s in row["against"] if s["key"] == key)

    # half a second for 65,536 values; for the 16,384 weights of 64 KiB; for a step; 4,000,000 bytes
    for row in rows_of(result, "noise"):
        for key in ("numpy", "torch"):
            check(near(side(row, key)["median"], 0.5e9 / 65536), f"{row['name']}: {key}")
            check(side(row, key)["name"].endswith(" 9.9"), f"{row['name']}: version")
    for row in rows_of(result, "update"):
        check(near(side(row, "numpy")["median"], 16384e-9 / 0.5), f"{row['name']}: numpy")
    step, peak = rows_of(result, "step")
    check(side(step, "mezo_torch")["median"] == 0.5, "step: mezo_torch")
    check(near(side(peak, "mezo_torch")["median"], 4e6 / 3505536), "peak: mezo_torch")
    for key in ("busiest_lane", "gemm", "products", "openblas"):
        check(side(step, key)["kind"] == "limit", f"step: {key}")
    # a part of the steps is within them (the mean over the passes of each repeat, here one)
    check(step["gemm_ratio"] <= 1 and step["busiest_lane_ratio"] <= 1, "parts of a step longer than it")
    # 16,384 weights; a bf16 wire is read, two fp32 panels are written
    for row in rows_of(result, "panels"):
        check(row["items"] == 16384 and near(row["gb_per_s"], 10 * row["median"]), f"{row['name']}: bytes")
        check([s["key"] for s in row["against"]] == ["copy"], f"{row['name']}: against a copy")
    products = rows_of(result, "gemm")
    for row in products:
        biased = row["name"].endswith(" and a bias")
        check(({"plain"} if biased else {"whole", "openblas"}) <= {s["key"] for s in row["against"]}, f"{row['name']}: against what")
        check(all((s["kind"] == "limit") == (s["key"] in ("whole", "plain")) for s in row["against"]), f"{row['name']}: limits")
    names = {row["name"] for row in products}
    check("all of a step" in names and len(names) > 3, f"products: {names}")
    for request in ("noise gaussian 1 65536 1", "noise rademacher 2 65536 1", "update gaussian 2 16384 1", "step 1"):
        check(request in requests, f"nobody was asked: {request}")

    # a file for zo2-plan --gpu: of a GPU alone
    rates = {row["name"]: row for row in rows_of(result, "rates")}
    check({"upload", "products", "decode to two panels", "update on the host", "noise on the host"} <= set(rates), "rates")
    check("rates" not in result, "the CPU's rates as a GPU's")

    print(f"{len(result['results'])} rows, {failures} failures")
    sys.exit(failures > 0)


main()
