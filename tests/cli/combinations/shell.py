"""Runs the commands of a case, looks for what must never happen, and keeps them as a shell script."""
import os
import shlex
import signal
import subprocess
import time

BAD = ("Sanitizer", "runtime error:", "Assertion", "assertion", "stack smashing", "double free", "Segmentation")


class Failure(Exception):
    """A promise that isn't kept."""


class Done:
    """A command that has ended."""

    def __init__(self, command, status, out, err):
        self.command, self.status, self.out, self.err = command, status, out, err

    def complaint(self, run=None):
        """What a refusal says, without what is said of every run of these settings; run: a name that is left out."""
        lines = [x for x in self.err.splitlines() if x and "warning:" not in x and "lost their oldest" not in x]
        text = "\n".join(lines)
        return text.replace(run, "RUN") if run else text


class Shell:
    """In a folder of its own."""

    def __init__(self, world, folder):
        self.world, self.folder, self.script = world, folder, []
        os.makedirs(folder)

    def note(self, line):
        self.script.append(line)

    def run(self, *command, ranks=1, ends=None, after=0.0, limit=300):
        """ends: the signal that it gets after so many seconds, if it hasn't ended by then. Of several ranks the last gets it."""
        whole = ([*self.world.launcher, "-n", str(ranks)] if ranks > 1 else []) + [str(x) for x in command]
        shown = shlex.join(whole)
        self.note(shown if not ends else f"timeout --preserve-status -s {ends} {after:.3f} {shown}")
        began, wall = time.monotonic(), time.time()
        with subprocess.Popen(whole, env=self.world.env, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, errors="replace") as process:
            try:
                try:
                    out, err = process.communicate(timeout=after if ends else limit)
                except subprocess.TimeoutExpired:
                    if not ends:
                        raise
                    self.end(process, ends, ranks, wall)
                    out, err = process.communicate(timeout=limit)
            except subprocess.TimeoutExpired:
                process.kill()
                raise Failure(f"hangs: {shown}") from None
        self.seconds = time.monotonic() - began
        done = Done(whole, process.returncode, out, err)
        self.script[-1] += f"   # exit status {done.status}"
        self.look(done, ends)
        return done

    def end(self, process, name, ranks, began):
        """SIGKILL is for the last rank, and mpirun sees to the others. It waits until the ranks are in their runs: an mpirun that loses one, or is told to
        stop, before they have found each other may hang."""
        victims = [process.pid]
        lock = os.path.join(self.folder, "run", f"rank-{ranks - 1}", "lock")
        while ranks > 1 and process.poll() is None:
            found = subprocess.run(["pgrep", "-P", str(process.pid), "-x", "zo2-tune"], capture_output=True, text=True, check=False)
            victims = [int(x) for x in found.stdout.split()]
            if len(victims) == ranks and os.path.exists(lock) and os.stat(lock).st_mtime >= began:
                break
            time.sleep(0.01)
        victim = victims[-1] if victims and name == "KILL" else process.pid
        try:
            os.kill(victim, getattr(signal, "SIG" + name))
        except ProcessLookupError:
            pass

    @staticmethod
    def look(done, ends):
        for bad in BAD:
            if bad in done.out or bad in done.err:
                raise Failure(f"'{bad}' from: {shlex.join(done.command)}\n{done.out[-2000:]}\n{done.err[-6000:]}")
        allowed = (0, 1, 2) if not ends else (0, 1, 2, 130, 137, 143, -2, -9, -15, 15, 9)
        if done.status not in allowed:
            raise Failure(f"exit status {done.status}: {shlex.join(done.command)}\n{done.out[-2000:]}\n{done.err[-4000:]}")

    def good(self, *command, **how):
        done = self.run(*command, **how)
        if done.status:
            raise Failure(f"exit status {done.status}, not 0: {shlex.join(done.command)}\n{done.out[-1500:]}\n{done.err[-3000:]}")
        return done.out
