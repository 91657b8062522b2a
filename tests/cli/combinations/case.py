"""One case: a run by the book, the same run in sessions of other free choices, and all that has to be equal then."""
import filecmp
import json
import os
import random
import shutil

from combinations.settings import Session, Settings
from combinations.shell import Failure, Shell

OF_TRAINING = ("--lr", "--seed", "--clip", "--weight-decay", "--eps", "--warmup", "--bos", "--lr-schedule")  # of no concern to zo2-plan


def same_files(a, b, what):
    if os.path.isfile(a):
        if not filecmp.cmp(a, b, shallow=False):
            raise Failure(f"{what}: {a} and {b} differ")
        return
    names = sorted(os.listdir(a))
    if names != sorted(os.listdir(b)):
        raise Failure(f"{what}: {names} in {a}, {sorted(os.listdir(b))} in {b}")
    for name in names:
        if not filecmp.cmp(os.path.join(a, name), os.path.join(b, name), shallow=False):
            raise Failure(f"{what}: {a}/{name} and {b}/{name} differ")


def metrics(path):
    with open(os.path.join(path, "metrics.jsonl"), encoding="utf-8") as file:
        return [json.loads(line) for line in file]


class Case:
    """seed: all that is drawn follows from it, but for the moment at which a signal arrives."""

    def __init__(self, world, seed):
        self.world, self.seed = world, seed
        self.rng = random.Random(seed)
        self.folder = os.path.join(world.folder, f"case-{seed}")
        self.shell = Shell(world, self.folder)
        self.settings = Settings(self.rng, world)
        self.train_data, self.eval_data = world.files(self.settings)
        self.packs = {"plain": self.settings.model.pack}
        self.sessions, self.plans, self.planned, self.fresher = 0, {}, False, False

    def path(self, name):
        return os.path.join(self.folder, name)

    # ---- packs ---------------------------------------------------------------------------------------------------

    def pack(self, form):
        if form not in self.packs:
            self.packs[form] = self.make_pack(form) or self.packs["plain"]
        return self.packs[form]

    def make_pack(self, form):
        """None: this form was refused."""
        s, sh, plain, out = self.settings, self.shell, self.packs["plain"], self.path(form + ".zo2")
        if form == "zstd":
            sh.good("zo2-pack", "convert", s.model.source, out, "--zstd", self.rng.choice([1, 3]))
            return out
        wire = s.frozen_wire or s.wire
        tune = ["--tune", s.tune] if s.tune and (form == "dropped" or self.rng.random() < 0.5) else []
        if form == "frozen-part":
            tune = ["--tune", f"layers={self.rng.randrange(s.model.layers)}"]
        if form.startswith("frozen"):
            sh.note(f"cp {plain} {out}")
            shutil.copyfile(plain, out)
            if self.rng.random() < 0.2:  # of no use to the run
                wire = self.rng.choice(["f8", "i4", "fp8-e4m3"])
            done = sh.run("zo2-pack", "freeze", out, "--wire", wire, *tune)
            return out if done.status == 0 else None
        done = sh.run("zo2-pack", "freeze", plain, out, "--wire", wire, *tune, "--drop-source")
        if done.status and os.path.exists(out):
            raise Failure("a refused --drop-source left a pack")
        return out if done.status == 0 else None

    # ---- runs ----------------------------------------------------------------------------------------------------

    def train(self, run, pack, *more, program="train", **how):
        return self.shell.run("zo2-tune", program, "--model", pack, "--data", self.train_data, "--run", run, *self.settings.options, *more, **how)

    def dry(self, run, pack, *more):
        """(plan, None) or (None, what was refused)."""
        done = self.train(run, pack, "--dry-run", "--json", *more)
        if done.status:
            return None, done
        return json.loads(done.out), None

    def refused(self, dry, pack, *more):
        """What a dry run refuses, a run does, in the same words, and begins nothing."""
        done = self.train("refused", pack, *more)
        if done.status != dry.status:
            raise Failure(f"the dry run ends with {dry.status}, the run with {done.status}:\n{dry.err}\n{done.err}")
        if os.path.exists(self.path("refused")):
            raise Failure(f"a refused run left its directory: {done.err}")
        if not done.complaint():
            raise Failure("a refusal says nothing")
        if done.complaint() != dry.complaint("RUN"):
            raise Failure(f"the dry run says\n{dry.complaint()}\nthe run\n{done.complaint()}")

    def check_peaks(self, run, plan):
        for line in metrics(self.path(run)):
            for name, most in (("device_peak_bytes", plan["device_peak_bytes"]), ("host_peak_bytes", plan["host_peak_bytes"])):
                if line.get(name) and line[name] > most and not (self.world.sanitized and name.startswith("host")):
                    raise Failure(f"{run}: {name} of {line[name]} in step {line['step']}, planned {most}")

    def plan_alone(self, refusal):
        """zo2-plan takes and refuses the settings that a dry run does."""
        s = self.settings
        pairs = list(zip(s.options[::2], s.options[1::2]))
        if s.wrong or (s.tune and "answers" in s.tune):
            return
        done = self.shell.run("zo2-plan", self.pack("plain"), "--probe", 0, "--json",
                              *(x for name, value in pairs if name not in OF_TRAINING for x in (name, value)))
        if (done.status == 0) != (refusal is None):
            raise Failure(f"zo2-plan and the dry run disagree:\n{done.err}\n{refusal.err if refusal else ''}")

    def reference(self):
        """The run that others are compared with; False: its settings are refused."""
        s = self.settings
        plan, refusal = self.dry("refused", self.pack("plain"), "--steps", s.steps)
        self.plan_alone(refusal)
        if refusal:
            self.refused(refusal, self.pack("plain"), "--steps", s.steps)
            return False
        done = self.train("ref", self.pack("plain"), "--steps", s.steps)
        self.seconds = self.shell.seconds
        self.finite = done.status == 0
        if done.status and "not finite" not in done.err and "skipped" not in done.err:
            raise Failure(f"planned, and then refused: {done.err}")
        self.check_peaks("ref", plan)
        return True

    def budgets(self, session, pack, options):
        """--host-mem and --device-mem of a session, from a plan: of what it has otherwise, or to save time of an earlier session."""
        key = "--spill" in options
        plan = self.plans.get(key)
        self.planned = plan is None or self.rng.random() < 0.3 or session.device == -1
        if self.planned:
            plan, refusal = self.dry("run", pack, "--resume", *options)
            if refusal:
                return None, refusal
            self.plans[key] = plan
        more = []
        if session.device is not None:
            more += ["--device-mem", max(1, plan["device_min_bytes"] + session.device)]
        if session.tight_host is not None:
            self.planned &= session.device is None  # of which the host's share depends a little
            least, most = plan["host_min_bytes"], plan["host_peak_bytes"]
            more += ["--host-mem", least + int(session.tight_host * session.tight_host * max(0, 4 * plan["master_bytes"], most - least))]
        return more, None

    def session(self, number, last):
        """One session of the other run. True: the run has all of its steps."""
        s, rng = self.settings, self.rng
        c = Session(rng, s, self.world, self.spill if rng.random() < 0.8 else [], number == 0)
        if self.snapshots and "--no-snapshot" not in c.options and "--spill" not in c.options and (number == 0 or rng.random() < 0.5):
            c.options = ["--snapshot", self.snapshots, *c.options]
        self.planned = False
        pack = self.pack(c.variant)
        steps = s.steps if last or not s.constant else rng.randint(max(1, self.steps_asked), s.steps)
        if last:
            c.ends = None
        options = ["--steps", steps, *c.options]
        alone = c.options[:c.options.index("--distribute")] if "--distribute" in c.options else c.options
        if c.ranks == 1:
            options = ["--steps", steps, *alone]
        if c.device is not None or c.tight_host is not None:
            more, refusal = self.budgets(c, pack, ["--steps", steps, *alone])
            if refusal:
                return self.session_refused(refusal)
            if c.device == -1:
                return self.too_small(pack, ["--steps", steps, *alone, *more])
            options += more
        if c.warm:
            self.warm(pack, ["--steps", steps, *alone])
            self.steps_asked = steps
        done = self.train("run", pack, "--resume", *options, ranks=c.ranks, ends=c.ends, after=c.after * self.seconds * c.ranks)
        self.sessions += 1
        # A step that is interrupted leaves tiles that it has brought up to date already, whose wires lack fewer updates than without.
        self.fresher |= bool(c.ends) and "--pending" in s.options
        if done.status in (1, 2) and not (c.ends and c.ranks > 1):
            if not self.finite and ("not finite" in done.err or "skipped" in done.err):
                return True
            return self.session_refused(done)
        self.steps_asked = steps
        if c.ranks == 1 and "--host-mem" in options:
            self.budget_kept(options)
        if c.ranks > 1:
            self.most_ranks = max(self.most_ranks, c.ranks)
            self.last_ranks = c.ranks
        elif done.status == 0:
            self.last_ranks = 1
        return steps == s.steps and done.status == 0

    def budget_kept(self, options):
        if self.world.sanitized or not os.path.exists(self.path("run/metrics.jsonl")):
            return
        most = int(options[options.index("--host-mem") + 1])
        lines = metrics(self.path("run"))
        if lines and lines[-1].get("host_peak_bytes") and lines[-1]["host_peak_bytes"] > most:
            raise Failure(f"--host-mem {most}, and {lines[-1]['host_peak_bytes']} were in use")

    def too_small(self, pack, options):
        """A byte less of device memory than the plan's minimum."""
        plan, refusal = self.dry("refused", pack, *options)
        if plan:
            raise Failure("less than device_min_bytes fits")
        self.refused(refusal, pack, *options)
        return False

    def warm(self, pack, options):
        drop = ("--no-snapshot", "--snapshot-every", "--check-every", "--share", "--eval-every")
        kept, skip = [], False
        for option in options:
            if option in drop:
                skip = option != "--no-snapshot"
            elif skip:
                skip = False
            else:
                kept.append(option)
        self.train("run", pack, *kept, program="warm")

    def session_refused(self, done):
        """A session may be refused for what the documents say; then the next one draws anew."""
        text = done.complaint()
        if "is too small" in text and not self.planned:
            return False
        if "spill-" in text and "remove" in text:
            for directory in self.spill:
                for folder, _, names in os.walk(directory):
                    for name in names:
                        if name.endswith(".zo2x"):
                            self.shell.note(f"rm {os.path.join(folder, name)}")
                            os.remove(os.path.join(folder, name))
            return False
        for known in ("has only the", "frozen matrices have", "keeps nothing", "no source bits", "nothing to keep", "--share", "have nothing to do"):
            if known in text:
                return False
        raise Failure(f"a session was refused: {done.err}")

    def other(self):
        """The run in sessions."""
        self.spill = []
        if self.rng.random() < 0.5:
            self.spill = [self.path(f"drive-{i}") for i in range(self.rng.choice([1, 1, 2, 3]))]
        self.snapshots = self.path("snapshots") if not self.spill and self.rng.random() < 0.2 else None
        for directory in self.spill:
            self.shell.note(f"mkdir -p {directory}")
            os.makedirs(directory)
        self.steps_asked, self.most_ranks, self.last_ranks = 1, 1, 1
        for number in range(12):
            if self.session(number, number >= 4):
                return
        raise Failure("no session came to an end")
