"""Draws: what a run is made with (its settings, which decide the bits) and what a session of it may choose (which must not)."""
WIRES = ["bf16", "fp8-e4m3", "fp8-e5m2", "fp16", "fp32", "f10", "f8", "f6"]
FROZEN_WIRES = WIRES + ["i4", "bf12"]
ROTATIONS = ["1", "2", "3"]
WRONG = [["--tune", "layers=99"], ["--tune", "rows=999999"], ["--tune", "lora:r=2,targets=nothing"], ["--tune", "match=nothing"], ["--queries", 17], ["--wire", "f9"],
         ["--eps", 0], ["--seq", 100000], ["--bos", 999999], ["--micro-batch", 4096], ["--host-mem", "1M"], ["--device-mem", "1K"], ["--spill", "nowhere"],
         ["--write-budget", "1M"], ["--snapshot", "x", "--spill", "."], ["--spill", "/dev/null"], ["--tune-order", "top"], ["--eval", "nowhere"],
         ["--eval-every", 2], ["--no-snapshot", "--snapshot-every", 1], ["--warmup", -1], ["--steps", 0], ["--trunk-cache", "0"], ["--snapshot", "/dev/null/x"]]


def some(rng, items, most):
    return rng.sample(items, rng.randint(1, min(most, len(items))))


def layers(rng, model):
    """A list of layers as --tune takes it; most often the last ones, so that there is a trunk."""
    n = model.layers
    if n > 1 and rng.random() < 0.6:
        first = rng.randrange(1, n)
        return str(first) if first == n - 1 else f"{first}-{n - 1}"
    return ",".join(str(i) for i in sorted(some(rng, range(n), 2)))


def lora(rng, model):
    text = f"lora:r={rng.choice([1, 2, 5])},alpha={rng.choice([1, 4, 16])},targets={'+'.join(some(rng, model.targets, 3))}"
    return text + (f",layers={layers(rng, model)}" if rng.random() < 0.6 else "")


def term(rng, model, kind):
    pick = rng.randrange(7)
    if pick == 0:
        return "layers=" + layers(rng, model)
    if pick == 1:
        return "matrices=" + layers(rng, model)
    if pick == 2:
        return "vectors"
    if pick == 3:
        if kind in ("options", "completion") and rng.random() < 0.7:
            return "rows=answers"
        first = rng.randrange(model.vocab)
        return f"rows={first}" if rng.random() < 0.5 else f"rows={first}-{min(first + 5, model.vocab - 1)}"
    if pick == 4:
        return "match=" + rng.choice(["*." + rng.choice(model.targets) + ".*", "*.0.*", "*norm*", "*embed*", "*weight"])
    return lora(rng, model)


def choice(rng, model, kind):
    """--tune, or none: a term, or a union of two."""
    if rng.random() < 0.3:
        return None
    terms = [term(rng, model, kind)]
    if rng.random() < 0.35:
        terms.append(term(rng, model, kind))
    return "+".join(terms)


class Settings:
    """What a run is made with. Not all that is drawn is allowed: what is refused has to be refused well."""

    def __init__(self, rng, world):
        self.model = model = rng.choices(world.models, [m.often for m in world.models])[0]
        self.kind = kind = rng.choice(model.kinds)
        self.steps = rng.randint(2, 6)
        self.batch = rng.randint(1, 5)
        self.queries = rng.choice([1, 1, 2, 3])
        self.micro = rng.choice([None, 1, 2]) if self.batch > 1 else None
        self.constant = True
        self.tune = choice(rng, model, kind)
        self.wire = rng.choice(WIRES)
        self.frozen_wire = rng.choice(FROZEN_WIRES) if rng.random() < (0.5 if self.tune else 0.03) else None
        self.trunk_cache = self.tune is not None and rng.random() < 0.6
        self.options = self.draw(rng)
        self.wrong = rng.random() < 0.08
        if self.wrong:
            self.options += [str(x) for x in rng.choice(WRONG)]

    def draw(self, rng):
        model = self.model
        o = ["--batch", self.batch, "--seq", rng.choice([model.seq // 2, model.seq]), "--lr", rng.choice(["1e-3", "1e-4", "0.01"]),
             "--seed", rng.randrange(1000), "--wire", self.wire, "--queries", self.queries]

        def maybe(name, chance, *values):
            if rng.random() < chance:
                o.extend(["--" + name, rng.choice(values)])
        maybe("dist", 0.5, "rademacher", "gaussian")
        maybe("pending", 0.5, 0, 1, 2, 3, 7)
        maybe("compute", 0.4, "bf16", "fp16", "fp32")
        maybe("clip", 0.3, "0.5", "3")
        maybe("weight-decay", 0.3, "0.1", "0.01")
        maybe("eps", 0.3, "1e-2", "1e-3")
        maybe("warmup", 0.2, 1, 3)
        maybe("bos", 0.15, "none", 3)
        if rng.random() < 0.25:
            self.constant = False
            o += ["--lr-schedule", rng.choice(["linear", "cosine"])]
        if self.micro:
            o += ["--micro-batch", self.micro]
        if self.tune:
            o += ["--tune", self.tune]
        if self.frozen_wire:
            o += ["--frozen-wire", self.frozen_wire]
        maybe("tune-rotate", 0.25 if self.tune else 0.1, *ROTATIONS)
        if "--tune-rotate" in o:
            maybe("tune-order", 0.6, "top", "bottom", "random")
        maybe("trunk-type", 0.25 if self.tune else 0.02, "bf16", "fp32")
        return [str(x) for x in o]


class Session:
    """What one session of a run may choose."""

    def __init__(self, rng, settings, world, spill, first=False):
        self.variant = rng.choice(settings.model.variants(settings))
        self.ranks = rng.choice([2, 3]) if world.ranks and rng.random() < 0.25 else 1
        self.ends = None if rng.random() < 0.45 else rng.choice(["INT", "KILL", "KILL"])
        self.after = rng.random()  # of the time that the run takes
        self.warm = spill and self.ranks == 1 and settings.trunk_cache and rng.random() < 0.3
        self.tight_host = rng.random() if spill or rng.random() < 0.3 else None
        self.device = rng.choice([None, None, 0, 1000, 1 << 20, 1 << 30, -1] if first else [None, None, 0, 1000, 1 << 20, 1 << 30])
        self.options = o = []

        def maybe(name, chance, *values):
            if rng.random() < chance:
                o.extend(["--" + name] + ([str(rng.choice(values))] if values else []))
        maybe("threads", 0.7, 1, 2, 3, 5)
        for directory in spill:
            o += ["--spill", directory]
        if settings.trunk_cache or rng.random() < 0.02:
            maybe("trunk-cache", 0.8, 1, 3000, "64K", "64M", "off")
        if rng.random() < 0.25:
            o += ["--no-snapshot"]
        else:
            maybe("snapshot-every", 0.5, "0", "0.001", "0.05")
        if rng.random() < 0.3:
            o += ["--eval", world.files(settings)[1]]
            maybe("eval-every", 0.7, 1, 2, 3)
        if self.ranks > 1:
            o += ["--distribute", rng.choice(["queries", "batch", "both"])]
            maybe("check-every", 0.5, 0, 1, 2)
            maybe("share", 0.2, ",".join(str(rng.randint(1, 4)) for _ in range(self.ranks)))
