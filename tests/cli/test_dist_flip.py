"""A bit that flips in one rank's masters is found within --check-every steps, and the rank is named; after that the run goes on with the
right weights.

The bit is flipped from outside, in the memory of a process that runs: the learning rate is 0, so the masters' bytes are known."""

import glob
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

BIN, DATA = os.environ["BIN"], os.environ["DATA"]
TUNE, PACK = os.path.join(BIN, "zo2-tune"), os.path.join(BIN, "zo2-pack")
STEPS = 4000


def skip(why):
    print("skipped: " + why)
    sys.exit(77)


def train(run, *more):
    return [TUNE, "train", "--model", "tiny.zo2", "--data", DATA + "/tiny-opt/data/wordnet_kind.train.jsonl", "--run", run,
            "--batch", "2", "--queries", "3", "--lr", "0", "--wire", "fp32", "--threads", "1", "--seq", "48", "--no-snapshot",
            *more]  # fmt: skip


def launch(ranks, command):
    return ["mpirun", *FLAGS, "-n", str(ranks), *command]


def lines(path):
    try:
        with open(path, encoding="utf-8") as f:
            return f.read().count("\n")
    except FileNotFoundError:
        return 0


def rank_1():
    """The process with rank 1's lock."""
    with open("run/rank-1/lock", encoding="ascii") as f:
        return int(f.read())


def flip(pid, pattern):
    """Inverts a bit of the pattern wherever a process has it in memory of its own. Returns how often."""
    found = 0
    with open(f"/proc/{pid}/maps", encoding="ascii") as maps, open(f"/proc/{pid}/mem", "r+b", buffering=0) as mem:
        for line in maps:
            span, rights, _, device = line.split()[:4]
            if not rights.startswith("rw-p") or device != "00:00":
                continue
            begin, end = (int(x, 16) for x in span.split("-"))
            try:
                mem.seek(begin)
                data = mem.read(end - begin)
            except OSError:
                continue
            at = data.find(pattern)
            while at >= 0:
                mem.seek(begin + at)
                mem.write(bytes([data[at] ^ 1]))
                found += 1
                at = data.find(pattern, at + 1)
    return found


def main():
    subprocess.run([PACK, "convert", DATA + "/tiny-opt/model", "tiny.zo2"], check=True, stdout=subprocess.DEVNULL)
    said = subprocess.run(train("none", "--dry-run", "--distribute", "queries"), capture_output=True, text=True, check=False)
    if "this build has no MPI" in said.stderr or not shutil.which("mpirun"):
        skip("no MPI")
    subprocess.run([PACK, "export", "tiny.zo2", "hf", "--dtype", "fp32"], check=True, stdout=subprocess.DEVNULL)
    with open("hf/model.safetensors", "rb") as f:
        weights = f.read()
    pattern = weights[len(weights) // 2 & ~3 :][:64]
    assert weights.count(pattern) == 1

    options = ["--steps", str(STEPS), "--distribute", "queries", "--check-every", "10"]
    with open("out.txt", "w", encoding="utf-8") as out:
        job = subprocess.Popen(launch(3, train("run", *options)), stdout=out, stderr=out)
        while lines("run/metrics.jsonl") < 5:
            assert job.poll() is None, open("out.txt", encoding="utf-8").read()
            time.sleep(0.02)
        pid = rank_1()
        os.kill(pid, signal.SIGSTOP)  # the others wait for it
        time.sleep(0.2)
        before = lines("run/metrics.jsonl")
        try:
            found = flip(pid, pattern)
        except PermissionError:
            job.terminate()
            job.wait()
            skip("another process's memory can't be written here")
        os.kill(pid, signal.SIGCONT)
        status = job.wait(timeout=120)
    text = open("out.txt", encoding="utf-8").read()
    assert found, "the masters aren't in memory as they should be"
    assert status == 1, text
    assert "the masters differ on rank 1 on" in text, text
    steps = lines("run/metrics.jsonl")
    assert steps % 10 == 0 and before <= steps <= before + 11, (before, steps)

    # The record is right: all resume, and their masters agree.
    resume = train("run", "--resume", "--steps", str(STEPS), "--distribute", "queries", "--check-every", "1")
    with open("out.txt", "w", encoding="utf-8") as out:
        job = subprocess.Popen(launch(3, resume), stdout=out, stderr=out)
        while lines("run/metrics.jsonl") < steps + 5 and job.poll() is None:
            time.sleep(0.02)
        job.send_signal(signal.SIGTERM)
        job.wait(timeout=120)
    text = open("out.txt", encoding="utf-8").read()
    assert "differ on" not in text and "interrupted after" in text, text
    journals = [open(path, "rb").read() for path in ["run/journal.zo2j", *glob.glob("run/rank-*/journal.zo2j")]]
    assert len(journals) == 3 and len(set(journals)) == 1


if __name__ == "__main__":
    FLAGS = []
    if shutil.which("mpirun"):
        version = subprocess.run(["mpirun", "--version"], capture_output=True, text=True, check=False).stdout
        if "Open MPI" in version or "OpenRTE" in version:
            FLAGS = ["--oversubscribe", "--allow-run-as-root", "--bind-to", "none"]
            os.environ["OMPI_MCA_btl_vader_single_copy_mechanism"] = "none"
            os.environ["OMPI_MCA_mpi_yield_when_idle"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        main()
