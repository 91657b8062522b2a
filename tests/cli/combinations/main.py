"""Draws cases one after the other until there are enough of them or the time is over."""
import argparse
import os
import shutil
import sys
import tempfile
import time
from collections import Counter

from combinations.checks import CheckedCase
from combinations.shell import Failure
from combinations.world import World


def report(case, error):
    script = os.path.join(case.folder, "commands.sh")
    with open(script, "w", encoding="utf-8") as file:
        file.write("\n".join(case.shell.script) + "\n")
    print(f"FAILED: case {case.seed}: {error}\ncommands, in {case.folder}:")
    print("\n".join("    " + line for line in case.shell.script), flush=True)


def main(seed, cases, seconds):
    """Defaults; the command line may have others. Returns the exit status."""
    p = argparse.ArgumentParser(description="Random combinations of zo2's features; see tests/cli/README.md.")
    p.add_argument("--seed", type=int, default=seed, help="of the first case")
    p.add_argument("--cases", type=int, default=cases)
    p.add_argument("--seconds", type=float, default=seconds, help="no case begins after them")
    p.add_argument("--keep", metavar="DIR", help="work here, and keep the folders of cases that failed")
    p.add_argument("--no-ranks", action="store_true", help="without mpirun")
    a = p.parse_args()
    folder = os.path.abspath(a.keep) if a.keep else tempfile.mkdtemp()
    os.makedirs(folder, exist_ok=True)
    print(f"cases from seed {a.seed} on: --seed N --cases 1 repeats one of them", flush=True)
    began, outcomes = time.monotonic(), Counter()
    try:
        world = World(folder, os.path.abspath(os.environ["BIN"]), os.path.abspath(os.environ["DATA"]), not a.no_ranks)
        for seed in range(a.seed, a.seed + a.cases):
            if time.monotonic() - began > a.seconds:
                break
            case = CheckedCase(world, seed)
            try:
                outcomes[case.all()] += 1
                outcomes["sessions"] += case.sessions
            except Failure as error:
                outcomes["failed"] += 1
                report(case, error)
                if a.keep:
                    continue
            case.clean()
    finally:
        if not a.keep:
            shutil.rmtree(folder, ignore_errors=True)
    print(", ".join(f"{n} {what}" for what, n in sorted(outcomes.items())))
    if not outcomes["compared"]:
        print("FAILED: no case was compared")
        return 1
    return 1 if outcomes["failed"] else 0


if __name__ == "__main__":
    sys.exit(main(1, 10, 3600))
