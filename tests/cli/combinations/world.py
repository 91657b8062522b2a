"""What cases draw from: tiny models, their packs in several forms, data of every kind, and how programs are run."""
import json
import os
import random
import shutil
import subprocess

LLAMA = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 128, "intermediate_size": 352, "num_attention_heads": 4,
         "num_key_value_heads": 2, "num_hidden_layers": 4, "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
         "vocab_size": 1000, "tie_word_embeddings": False, "torch_dtype": "bfloat16", "bos_token_id": 1, "eos_token_id": 2}
OPT_TARGETS = ["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"]
LLAMA_TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
LINES, EVAL_LINES = 11, 5


class Model:
    """One of the models; `pack` is its plain form."""

    def __init__(self, world, name, often, make):
        self.name, self.often = name, often
        self.pack = os.path.join(world.folder, name + ".zo2")
        world.must("zo2-pack", *make, self.pack)
        info = json.loads(world.must("zo2-pack", "info", self.pack, "--json"))
        self.family, self.layers, self.vocab = info["arch"], info["layers"], info["vocab"]
        self.tokens = info["tokenizer"] is None
        self.seq = min(info["context"], 24)
        self.targets = OPT_TARGETS if self.family == "opt" else LLAMA_TARGETS
        self.kinds = ["tokens"] if self.tokens else ["text", "completion", "options", "tokens"]
        self.source = make[1] if make[0] == "convert" else None

    def variants(self, settings):
        """Forms of the pack that a run with these settings may have, all of one model hash."""
        forms = ["plain", "plain", "frozen", "frozen-part"]
        if self.source:
            forms.append("zstd")
        if settings.tune:
            forms += ["dropped", "dropped"]
        return forms


def token_line(rng, model):
    n = rng.randint(3, model.seq + 4)
    first = rng.randint(1, 3) if n < model.seq // 2 else rng.randint(n + 1 - model.seq // 2, n - 1)  # the loss fits in the shortest rows
    return {"tokens": [rng.randrange(3, model.vocab) for _ in range(n)], "loss_from": min(first, n - 1)}


class World:
    """folder: where all is kept; tools: BIN; data: tests/data."""

    def __init__(self, folder, tools, tests_data, ranks=True):
        self.folder, self.tools = folder, tools
        self.sanitized = bool(os.environ.get("ZO2_SANITIZE"))
        self.launcher = ["mpirun", "--oversubscribe", "--allow-run-as-root", "--bind-to", "none"]
        self.env = dict(os.environ, OMPI_MCA_btl_vader_single_copy_mechanism="none", OMPI_MCA_rmaps_base_oversubscribe="1",
                        OMPI_MCA_mpi_yield_when_idle="1", PATH=tools + ":" + os.environ["PATH"])
        self.tests_data = tests_data
        opt, decoders = os.path.join(tests_data, "opt-fixtures"), os.path.join(tests_data, "decoder-fixtures")
        self.write("llama.json", json.dumps(LLAMA))
        self.models = [
            Model(self, "tiny", 4, ["convert", os.path.join(tests_data, "tiny-opt", "model")]),
            Model(self, "llama", 3, ["synth", os.path.join(folder, "llama.json"), "--dtype", "bf16"]),
            *(Model(self, "opt-" + n, 0.4, ["convert", os.path.join(opt, n)]) for n in
              ("postnorm-proj-f16", "untied-proj-bf16", "odd-sizes-f32", "tiles-f16", "wide-proj-bf16", "bare-postnorm-f16")),
            *(Model(self, n, 0.4, ["convert", os.path.join(decoders, n)]) for n in
              ("llama-gqa-tied", "llama-bare", "qwen2", "qwen3", "mistral-window", "llama-mlp-bias")),
        ]
        self.data = {}
        self.make_data()
        self.ranks = ranks and self.has_ranks()

    def write(self, name, text):
        path = os.path.join(self.folder, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def make_data(self):
        texts = os.path.join(self.tests_data, "tiny-opt", "data")

        def head(name, n):
            with open(os.path.join(texts, name), encoding="utf-8") as file:
                return [json.loads(line) for line in file][:n]
        kinds = {"text": [head(f"proverbs.{part}.jsonl", n) for part, n in (("train", LINES), ("test", EVAL_LINES))],
                 "options": [head(f"wordnet_kind.{part}.jsonl", n) for part, n in (("train", LINES), ("dev", EVAL_LINES))]}
        kinds["completion"] = [[{"prompt": x["prompt"], "completion": x["options"][x["label"]]} for x in part] for part in kinds["options"]]
        for kind, parts in kinds.items():
            self.data[kind, "tiny"] = self.write_parts(kind + "-tiny", parts)
        for model in self.models:
            rng = random.Random(model.name)
            self.data["tokens", model.name] = self.write_parts(
                "tokens-" + model.name, [[token_line(rng, model) for _ in range(n)] for n in (LINES, EVAL_LINES)])

    def write_parts(self, name, parts):
        return [self.write(f"{name}-{part}.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
                for part, lines in zip(("train", "eval"), parts)]

    def files(self, settings):
        """(training, evaluation) lines of a run."""
        return self.data[settings.kind, settings.model.name]

    def must(self, *command):
        """A program that can't fail, and what it said."""
        done = subprocess.run(command, env=self.env, cwd=self.folder, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: exit status {done.returncode}: {done.stderr}")
        return done.stdout

    def has_ranks(self):
        """Is there an Open MPI, and was this built with it?"""
        if not shutil.which("mpirun"):
            return False
        done = subprocess.run([*self.launcher, "-n", "1", "zo2-tune", "train", "--model", self.models[0].pack, "--data",
                               self.data["text", "tiny"][0], "--run", "none", "--dry-run", "--distribute", "queries"],
                              env=self.env, cwd=self.folder, capture_output=True, text=True, check=False)
        return done.returncode == 0
