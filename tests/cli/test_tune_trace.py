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
    json.dump([{"ph": "X", "name": name, "cat": lane, "ts": ts, "dur": dur, "args": {"step": 0, **args}}
               for name, lane, ts, dur, args in (
                   ("gemm", "compute", 0, 10, {}), ("wait", "compute", 10, 90, {}),
                   ("upload", "upload", 0, 2, {"bytes": 60000}), ("resident", "upload", 2, 1, {}),
                   ("upload", "upload", 3, 1, {"bytes": 40000}), ("gemm", "device compute", 5, 80, {}),
                   ("upload", "device upload", 1, 24, {}), ("upload", "device upload", 50, 26, {}))], file)
summary = run(sys.executable, os.environ["SRC"] + "/tools/trace-summary", "device.json").stdout.splitlines()
assert "device compute  device upload" in summary[0], summary
assert summary[1].endswith("1.250 (device compute)"), summary
assert summary[-2] == "device compute in step 0: gemm 100.0 %", summary

# beside zo2-bench: 100 KB in 50 us are 2 GB/s, in the 100 us of the step 1; 2 rows of 4e6 operations in 80 us 100 GFLOP/s;
# of the uploads' 50 us the first four ran alone
with open("bench.json", "w", encoding="utf-8") as file:
    json.dump({"results": [
        {"section": "gemm", "name": "5 x 6 x 7 (fc1.weight)", "items": 1, "against": [{"key": "whole", "median": 1}]},
        {"section": "gemm", "name": "all of a step", "items": 4e6, "against": [{"key": "openblas", "median": 7},
                                                                               {"key": "whole", "median": 125}]},
        {"section": "link", "name": "upload, chunks of 4096 KiB", "items": 9, "against": [{"key": "whole", "median": 2.5}]},
    ]}, file)
rates = json.loads(run(sys.executable, os.environ["SRC"] + "/tools/trace-summary", "device.json", "--bench", "bench.json",
                       "--rows", "2", "--json").stdout)
for key, value in (("upload_gb_per_s", 2), ("upload_ratio", 0.8), ("upload_over_step_gb_per_s", 1),
                   ("upload_over_step_ratio", 0.4), ("gemm_gflop_per_s", 100), ("gemm_ratio", 0.8)):
    assert abs(rates[key] - value) < 1e-9, (key, rates)
assert abs(rates["steps"][0]["overlap_ratio"] - 46 / 50) < 1e-9, rates
with open("bench.json", "w", encoding="utf-8") as file:
    file.write(run(tool + "zo2-bench", "gemm", "link", "--backend", "cpu", "--json", "--repeats", "1", "--seconds", "0",
                   "--bytes", "64K", "--model", "tiny.zo2", "--tokens", "5").stdout)
run(sys.executable, os.environ["SRC"] + "/tools/trace-summary", "device.json", "--bench", "bench.json")
with open("nothing.json", "w", encoding="utf-8") as file:
    json.dump({"results": []}, file)
nothing = run(sys.executable, os.environ["SRC"] + "/tools/trace-summary", "device.json", "--bench", "nothing.json").stdout
assert nothing.count("not measured") == 3, nothing
# rows have the names that are looked for
rates = json.loads(run(sys.executable, os.environ["SRC"] + "/tools/trace-summary", "whole.json", "--bench", "bench.json",
                       "--json").stdout)
assert all(rates[key] > 0 for key in ("upload_ratio", "upload_over_step_ratio", "gemm_ratio")), rates

# what is no trace is an error of one line
with open("other.json", "w", encoding="utf-8") as file:
    file.write('{"step": 0}\n{"step": 1}\n')
for name, word in ("none.json", "No such file"), ("other.json", "no file that --trace wrote"):
    error = run(sys.executable, os.environ["SRC"] + "/tools/trace-summary", name, status=1).stderr
    assert word in error and error.count("\n") == 1, error

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
