"""Training is MeZO: a run's losses are those of PyTorch with Hugging Face transformers, given the same perturbations and examples.

tests/data/mezo_losses.txt was written by tests/make_fixtures/make_mezo_losses.py. Environment: BIN, DATA; STEPS: how many (100).
"""
import json
import os
import subprocess
import sys
import tempfile

# Weights and losses are rounded differently, and each step builds on the last: the difference grows with the steps. Seen: 4e-6 in the first
# 100 steps, 8e-5 in 2,000. A step itself changes a loss by about 1e-2, and the two losses of a step differ by about as much.
BOUND_100, BOUND = 2e-5, 5e-4

steps = int(os.environ.get("STEPS", "10" if os.environ.get("ZO2_SANITIZE") else "100"))
tool, tiny = os.environ["BIN"] + "/", os.path.join(os.environ["DATA"], "tiny-opt")
with open(os.path.join(os.environ["DATA"], "mezo_losses.txt"), encoding="ascii") as f:
    want = [tuple(map(float, line.split())) for line in f][:steps]
assert len(want) == steps, "the reference has %d steps" % len(want)

with tempfile.TemporaryDirectory() as work:
    pack, run = os.path.join(work, "tiny.zo2"), os.path.join(work, "run")
    subprocess.run([tool + "zo2-pack", "convert", os.path.join(tiny, "model"), pack], check=True, stdout=subprocess.DEVNULL)
    subprocess.run([tool + "zo2-tune", "train", "--model", pack, "--data", os.path.join(tiny, "data", "wordnet_kind.train.jsonl"), "--run", run,
                    "--seed", "0", "--lr", "1e-4", "--eps", "1e-3", "--batch", "16", "--steps", str(steps), "--wire", "fp32", "--quiet"],
                   check=True)
    log = subprocess.run([tool + "zo2-tune", "log", run, "--json"], check=True, capture_output=True, text=True).stdout
    got = [(r["loss_plus"], r["loss_minus"]) for r in map(json.loads, log.splitlines())]

assert len(got) == steps, len(got)
worst = [max(abs(a - b) for a, b in zip(g, w)) for g, w in zip(got, want)]
print("largest difference: %.2g in the first 100 steps, %.2g in %d" % (max(worst[:100]), max(worst), steps))
if max(worst[:100]) > BOUND_100 or max(worst) > BOUND:
    bad = next(i for i, d in enumerate(worst) if d > (BOUND_100 if i < 100 else BOUND))
    sys.exit("FAILED: step %d: losses %.9g %.9g, PyTorch's are %.9g %.9g" % (bad, *got[bad], *want[bad]))
