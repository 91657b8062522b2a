#!/usr/bin/env python3
"""Writes tests/data/torch-pickles: the data.pkl of files that torch.save() writes, and one of the older form whole.

    make_torch_pickles.py OUT_DIR

Everything is tiny; tests/unit/storage/test_torch_real.c knows what is in each. Needs torch 2.1 or later."""
import argparse
import collections
import datetime
import io
import pathlib
import pickle
import sys
import zipfile

import torch

OUT = pathlib.Path(sys.argv[1])


def data_pkl(value, **more):
    file = io.BytesIO()
    torch.save(value, file, **more)
    with zipfile.ZipFile(file) as z:
        return z.read(next(name for name in z.namelist() if name.endswith("/data.pkl")))


def put(name, content):
    (OUT / name).write_bytes(content)
    print(f"{name}: {len(content)} bytes")


class Config:
    """Stands for a configuration class that nobody has here."""

    def __init__(self, **values):
        self.__dict__.update(values)


Config.__module__ = "omegaconf.dictconfig"
Config.__qualname__ = Config.__name__ = "DictConfig"
module = type(sys)("omegaconf.dictconfig")
module.DictConfig = Config
sys.modules["omegaconf"] = type(sys)("omegaconf")
sys.modules["omegaconf.dictconfig"] = module

model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.LayerNorm(2))
put("module.pkl", data_pkl(model.state_dict()))  # an OrderedDict with _metadata
put("half.pkl", data_pkl({k: v.half() for k, v in model.state_dict().items()}))
put("whole-model.pkl", data_pkl(model))
put("parameter.pkl", data_pkl({"w": torch.nn.Parameter(torch.zeros(2, 3)), "b": torch.zeros(3, dtype=torch.bfloat16)}))

base = torch.arange(24, dtype=torch.float32)
attributed = torch.zeros(2)
attributed.note = "mine"
put("views.pkl", data_pkl(collections.OrderedDict([
    ("whole", base), ("part", base[4:10]), ("transposed", base.view(4, 6).t()), ("step", base[1::5]), ("expanded", base[3:4].expand(7)),
    ("scalar", base[23]), ("empty", base[24:]), ("attributed", attributed)])))

put("types.pkl", data_pkl({str(t)[6:]: torch.zeros(2, dtype=t) for t in (
    torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8,
    torch.bool, torch.uint16, torch.float8_e4m3fn, torch.float8_e5m2, torch.complex64)} | {
        "quantized": torch.quantize_per_tensor(torch.zeros(2), 1.0, 0, torch.qint8), "negated": torch.zeros(2, dtype=torch.complex64).conj().imag,
        "sparse": torch.eye(2).to_sparse(), "meta": torch.zeros(2, device="meta")}))

options = argparse.Namespace(lr=1e-3, arch="transformer_lm_megatron", betas=(0.9, 0.95), names=["a", "b"], seen={1, 2}, limit=2**70, when=datetime.date(2022, 5, 3))
put("metaseq.pkl", data_pkl({
    "args": None, "cfg": Config(model=options, task={"_name": "streaming_language_modeling", "data": None}, self_=[options, b"bytes"]),
    "model": collections.OrderedDict([("decoder.version", torch.zeros(1)), ("decoder.layers.0.fc1.weight", torch.zeros(4, 2).half())]),
    "criterion": None, "optimizer_history": [{"num_updates": 5}], "task_state": {"epoch": 1},
    "extra_state": {"counts": collections.defaultdict(int, {"a": 1}), "iterator": collections.deque([1, 2])},
    "last_optimizer_state": {"state": {0: {"step": 1, "exp_avg": torch.zeros(3)}}, "param_groups": [{"params": [0]}]}}))

for protocol in (3, 4, 5):
    put(f"protocol{protocol}.pkl", data_pkl({"w": torch.zeros(2, 3)}, pickle_protocol=protocol))

file = io.BytesIO()
torch.save(collections.OrderedDict([("a", torch.arange(6).float().view(2, 3)), ("tied", base[2:4]), ("b", base[:2])]), file,
           _use_new_zipfile_serialization=False)
put("legacy.bin", file.getvalue())
