"""What has to be equal when a case has its two runs."""
import json
import os
import re
import shutil

from combinations.case import Case, Failure, metrics, same_files

SAME = ("step", "loss", "loss_plus", "loss_minus", "projected_grad", "lr", "tokens")
EVALUATED = ("eval_loss", "eval_accuracy", "eval_nonfinite")


class CheckedCase(Case):
    """A case from its draw to the last comparison."""

    def all(self):
        """Returns what became of it, in a word."""
        if not self.reference():
            return "refused"
        self.other()
        self.places = ["run"] + [f"run/rank-{i}" for i in range(1, self.last_ranks)]
        for place in self.places:
            same_files(self.path("ref/journal.zo2j"), self.path(place + "/journal.zo2j"), "journals")
        self.compare_metrics()
        if not self.finite:
            return "nonfinite"
        self.look_on()
        self.exports()
        self.gguf()
        self.evaluations()
        return "compared"

    def compare_metrics(self):
        want = metrics(self.path("ref"))
        for place in self.places:
            have = metrics(self.path(place))
            if len(want) != len(have):
                raise Failure(f"{place}: {len(have)} lines of metrics, not {len(want)}")
            for a, b in zip(want, have):
                for key in SAME:
                    if a.get(key) != b.get(key):
                        raise Failure(f"{place}: {key} of step {a['step']} is {b.get(key)}, not {a.get(key)}")

    def look_on(self):
        for place in self.places:
            self.shell.good("zo2-pack", "verify", self.pack("plain"), "--run", place)
            self.shell.good("zo2-tune", "log", place)
        lines = self.shell.good("zo2-tune", "log", "run", "--json").splitlines()
        if len([json.loads(x) for x in lines]) != self.settings.steps:
            raise Failure("zo2-tune log --json lacks steps")

    def export(self, out, run, *more):
        self.shell.good("zo2-pack", "export", self.pack("plain"), out, "--run", run, "--dtype", "fp32", *more)
        return self.path(out)

    def exports(self):
        rng, s = self.rng, self.settings
        merge = []
        if s.tune and "lora" in s.tune:  # whose adapters can be exported alone where nothing else moves
            done = self.shell.run("zo2-pack", "export", self.pack("plain"), "try", "--run", "ref", "--dtype", "fp32")
            merge = ["--merge"] if done.status or rng.random() < 0.5 else []
        want = self.export("want", "ref", *merge)
        for place in self.places:
            out = "have-" + place.replace("/", "-")
            same_files(want, self.export(out, place, *merge), "exports")
        same_files(want, self.export("replayed", "run", "--replay", *merge), "--replay")
        self.shell.good("zo2-pack", "export", self.pack("plain"), "run.zo2b", "--run", self.places[-1], "--journal-only")
        self.shell.good("zo2-pack", "apply", self.pack("plain"), "run.zo2b", "applied", "--dtype", "fp32", *merge)
        same_files(want, self.path("applied"), "the bundle")
        middle = rng.randrange(0, s.steps)
        at = self.export("at", "run", "--at-step", middle, *merge)
        same_files(self.export("at-ref", "ref", "--at-step", middle, "--replay", *merge), at, "--at-step")
        self.shell.good("zo2-pack", "apply", self.pack("plain"), "run.zo2b", "at-applied", "--at-step", middle, "--dtype", "fp32", *merge)
        same_files(at, self.path("at-applied"), "the bundle --at-step")
        if s.constant and middle and rng.random() < 0.5:
            self.shorter(middle, at, merge)
        self.other_packs(want, merge)
        self.snapshot_alone()
        if merge or "lora" not in (s.tune or ""):
            self.again(want)

    def shorter(self, steps, at, merge):
        done = self.train("short", self.pack("plain"), "--steps", steps, "--threads", 1)
        if done.status:
            raise Failure(f"a shorter run: {done.err}")
        same_files(self.export("short-out", "short", *merge), at, "--at-step beside a run that ends there")

    def snapshot_alone(self):
        """A run that lost its journal has what its newest snapshot has, if all parts of it are at one step, which is told."""
        done = self.shell.run("zo2-pack", "export", self.pack("plain"), "of-snapshot", "--snapshot", self.path("ref/snapshots"), "--dtype", "fp32")
        if done.status and "cannot be used alone" in done.err:
            return
        told = re.search(r"the weights after ([0-9]+) steps", done.err)
        if done.status or not told:
            raise Failure(f"an export of a snapshot alone: {done.err}")
        same_files(self.export("at-snapshot", "run", "--at-step", told[1]), self.path("of-snapshot"), "an export of a snapshot alone")

    def again(self, want):
        """An export is a checkpoint: what is converted and exported has its bits."""
        if self.rng.random() < 0.7:
            return
        self.shell.good("zo2-pack", "convert", want, "again.zo2")
        self.shell.good("zo2-pack", "export", "again.zo2", "again")
        same_files(want + "/model.safetensors", self.path("again/model.safetensors"), "an export converted and exported")

    def other_packs(self, want, merge):
        """Exports of whole models through the other forms of the pack that there are."""
        for form, pack in self.packs.items():
            if form == "plain" or pack == self.packs["plain"]:
                continue
            self.shell.good("zo2-pack", "verify", pack)
            done = self.shell.run("zo2-pack", "export", pack, "of-" + form, "--run", "run", "--dtype", "fp32", *merge)
            if done.status == 0:
                same_files(want, self.path("of-" + form), "an export through the form " + form)
            elif form != "dropped" or "source bits" not in done.err:
                raise Failure(f"export through the form {form}: {done.err}")
            elif os.path.exists(self.path("of-" + form)):
                raise Failure("a refused export left its directory")

    def gguf(self):
        if self.settings.model.family == "opt" or self.rng.random() < 0.5:
            return
        kind = self.rng.choice(["f16", "bf16", "q8_0"])
        files = []
        for out, run, more in (("a/model.gguf", "ref", []), ("b/model.gguf", "run", ["--replay"])):  # its name is in it
            os.makedirs(os.path.dirname(self.path(out)))
            lora = ["--merge"] if self.settings.tune and "lora" in self.settings.tune else []
            done = self.shell.run("zo2-pack", "export", self.pack("plain"), out, "--run", run, "--gguf", kind, *more, *lora)
            files.append(done)
        if files[0].status != files[1].status:
            raise Failure(f"gguf: {files[0].err} {files[1].err}")
        if files[0].status == 0:
            same_files(self.path("a/model.gguf"), self.path("b/model.gguf"), "gguf")

    def evaluate(self, run, pack, *more):
        done = json.loads(self.shell.good("zo2-tune", "eval", "--model", pack, "--run", run, "--data", self.eval_data, "--json", *more))
        return {k: v for k, v in done.items() if k != "seconds"}

    def evaluations(self):
        """Through the run, at its end and before; and in metrics, where two sessions have evaluated the same step."""
        rng = self.rng
        at = ["--at-step", rng.randrange(0, self.settings.steps + 1)] if rng.random() < 0.5 else []
        want = self.evaluate("ref", self.pack("plain"), *at)
        pack = self.pack(rng.choice(list(self.packs)))
        have = self.evaluate(rng.choice(self.places), pack, *at, "--threads", rng.choice([1, 2, 3]),
                             *rng.choice([[], ["--device-mem", "1G"]]))
        dropped = pack == self.packs.get("dropped") and pack != self.packs["plain"]
        for key in want:
            if want[key] != have.get(key) and not (dropped if key.endswith("fp32") else self.fresher):
                raise Failure(f"eval: {key} is {have.get(key)}, not {want[key]}")
        line = metrics(self.path("run"))[-1]
        if not at and not self.fresher and line.get("eval_loss") is not None:
            for key in EVALUATED:
                if line.get(key) != want.get(key):
                    raise Failure(f"eval in the run: {key} is {line.get(key)}, eval of the run has {want.get(key)}")

    def clean(self):
        shutil.rmtree(self.folder, ignore_errors=True)
