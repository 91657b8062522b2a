"""--trace: valid JSON whether the run ends, is interrupted or killed; named tracks; refused over an existing file."""
import json
import os
import signal
import subprocess
import sys
import tempfile
import time

tool = os.environ["BIN"] + "/"
data = os.environ["DATA"] + "/tiny-opt/"
folder = tempfile.TemporaryDirectory()
os.chdir(folder.name)


def run(*args, status=0):
    p = subprocess.run(args, capture_output=True, text=True, check=False)
    assert p.returncode == status, (args, p.returncode, p.stderr)
    return p


def train(name, *more):
    return (tool + "zo2-tune", "train", "--model", "tiny.zo2", "--data", data + "data/wordnet_kind.train.jsonl", "--run",
            name, "--batch", "2", "--lr", "1e-4", "--trace", name + ".json", *more)


def check(name, closed):
    with open(name + ".json", encoding="utf-8") as file:
        text = file.read()
    assert text.endswith("\n]\n") == closed, text[-80:]
    events = json.loads(text if closed else text + "]")
    tracks = {e["tid"]: e["args"]["name"] for e in events if e["name"] == "thread_name"}
    assert {"update", "upload", "compute"} <= set(tracks.values()), tracks
    last = {}
    for e in events:
        if e["ph"] == "X":
            assert tracks[e["tid"]] == e["cat"]
            assert e["ts"] >= last.get(e["tid"], 0) - 0.002, e  # rounded to nanoseconds, twice
            last[e["tid"]] = e["ts"] + e["dur"]
            assert e["args"]["step"] >= 0
    assert any(e["ph"] == "C" and e["name"] == "ring" and e["args"]["bytes"] > 0 for e in events)
    names = {e["name"] for e in events if e["ph"] == "X"}
    assert {"update", "upload", "decode", "gemm", "attention", "norm", "gather", "head"} <= names, names
    return events


run(tool + "zo2-pack", "convert", data + "model", "tiny.zo2")
out = run(*train("whole", "--steps", "3")).stdout
assert "bottleneck: " in out, out
steps = {e["args"]["step"] for e in check("whole", True) if e["ph"] == "X"}
assert steps == {0, 1, 2}, steps
with open("whole/metrics.jsonl", encoding="utf-8") as file:
    for line in map(json.loads, file):
        for lane in "update", "upload", "compute":
            assert 0 < line[lane + "_busy_seconds"] <= line["seconds"] and line[lane + "_wait_seconds"] >= 0, line
        assert line["bottleneck"] in ("update", "upload", "compute")
summary = run(sys.executable, os.environ["SRC"] + "/tools/trace-summary", "whole.json").stdout
assert "median step / busiest lane: " in summary, summary
ratio = json.loads(run(sys.executable, os.environ["SRC"] + "/tools/trace-summary", "whole.json", "--json").stdout)
assert len(ratio["steps"]) == 3 and ratio["median_step_over_busiest_ratio"] >= 1, ratio

# with a device's own tracks: the host's waiting for it is nobody's work
with open("device.json", "w", encoding="utf-8") as file:
    json.dump([{"ph": "X", "name": name, "cat": lane, "ts": ts, "dur": dur, "args": {"step": 0}}
               for name, lane, ts, dur in (("gemm", "compute", 0, 10), ("wait", "compute", 10, 90),
                                           ("gemm", "device compute", 5, 80), ("upload", "device upload", 1, 50))], file)
summary = run(sys.executable, os.environ["SRC"] + "/tools/trace-summary", "device.json").stdout.splitlines()
assert summary[0].split("  ")[-3:-1] == ["device compute", "device upload"], summary
assert summary[1].endswith("1.250 (device compute)"), summary
assert summary[-1] == "device compute in step 0: gemm 100.0 %", summary

assert "exists already" in run(*train("whole", "--steps", "4", "--resume"), status=1).stderr
check("whole", True)

for name, sent, status in ("interrupted", signal.SIGINT, 130), ("killed", signal.SIGKILL, -signal.SIGKILL):
    p = subprocess.Popen(train(name, "--steps", "100000"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not os.path.exists(name + ".json") or os.path.getsize(name + ".json") < 1 << 18:
        assert time.monotonic() < deadline and p.poll() is None
        time.sleep(0.02)
    p.send_signal(sent)
    assert p.wait() == status
    check(name, name == "interrupted")
