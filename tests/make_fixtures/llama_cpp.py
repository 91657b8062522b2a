"""llama.cpp's C functions, as the Python package xllamacpp has them in its library, for check_llama_cpp.py.

Its options are structs whose layout changes with versions. They are passed as memory that is larger than any of them: on x86-64 such a
struct lies on the stack, and the callee reads as much of it as it knows. The few fields that are set here are found by their defaults, and
a version that has others is refused.
"""
import ctypes
import glob
import os

import numpy as np
import xllamacpp

FLASH_ATTENTION, KV_TYPES = 13, 26  # words of the options of a context
AUTO, DISABLED, F32, F16 = 0xFFFFFFFF, 0, 0, 1


class Options(ctypes.Structure):
    _fields_ = [("words", ctypes.c_uint32 * 128)]


class Batch(ctypes.Structure):
    _fields_ = [("n", ctypes.c_int32), ("token", ctypes.POINTER(ctypes.c_int32)), ("embd", ctypes.c_void_p),
                ("pos", ctypes.POINTER(ctypes.c_int32)), ("sequences", ctypes.POINTER(ctypes.c_int32)),
                ("sequence", ctypes.POINTER(ctypes.POINTER(ctypes.c_int32))), ("logits", ctypes.POINTER(ctypes.c_int8))]


HANDLE, INT, TEXT = ctypes.c_void_p, ctypes.c_int32, ctypes.c_char_p
LOG = ctypes.CFUNCTYPE(None, INT, TEXT, HANDLE)
FUNCTIONS = {
    "llama_version": (TEXT,), "llama_backend_init": (None,), "llama_log_set": (None, LOG, HANDLE),
    "llama_model_default_params": (Options,), "llama_context_default_params": (Options,),
    "llama_model_load_from_file": (HANDLE, TEXT, Options), "llama_init_from_model": (HANDLE, HANDLE, Options),
    "llama_model_free": (None, HANDLE), "llama_free": (None, HANDLE),
    "llama_model_get_vocab": (HANDLE, HANDLE), "llama_vocab_n_tokens": (INT, HANDLE),
    "llama_tokenize": (INT, HANDLE, TEXT, INT, ctypes.POINTER(INT), INT, ctypes.c_bool, ctypes.c_bool),
    "llama_batch_init": (Batch, INT, INT, INT), "llama_batch_free": (None, Batch), "llama_decode": (INT, HANDLE, Batch),
    "llama_get_logits_ith": (ctypes.POINTER(ctypes.c_float), HANDLE, INT),
    "llama_get_memory": (HANDLE, HANDLE), "llama_memory_clear": (None, HANDLE, ctypes.c_bool),
}
lib = ctypes.CDLL(glob.glob(os.path.join(os.path.dirname(xllamacpp.__file__), "*.so"))[0])
for name, (result, *arguments) in FUNCTIONS.items():
    getattr(lib, name).restype, getattr(lib, name).argtypes = result, arguments
said = []


@LOG
def keep(level, text, _):
    said.append((level, text.decode("utf-8", "replace")))


lib.llama_log_set(keep, None)
lib.llama_backend_init()
VERSION = f"xllamacpp {xllamacpp.__version__}, llama.cpp {lib.llama_version().decode()}"


class Model:
    """A file that is loaded. exact: keys and values of attention in fp32, which are fp16 by default."""

    def __init__(self, path, tokens, exact=True):
        said.clear()
        self.context = None
        self.model = lib.llama_model_load_from_file(path.encode(), lib.llama_model_default_params())
        if not self.model:
            raise RuntimeError(f"{path}: not loaded: {said[-2:]}")
        self.vocab = lib.llama_model_get_vocab(self.model)
        self.n = lib.llama_vocab_n_tokens(self.vocab)
        o = lib.llama_context_default_params()
        if o.words[:3] != [512, 2048, 512] or o.words[FLASH_ATTENTION] != AUTO or o.words[KV_TYPES:KV_TYPES + 2] != [F16, F16]:
            raise SystemExit(f"{VERSION}: a context's options have another layout: bring llama_cpp.py up to date")
        o.words[0] = o.words[1] = o.words[2] = tokens
        if exact:
            o.words[FLASH_ATTENTION] = DISABLED
            o.words[KV_TYPES] = o.words[KV_TYPES + 1] = F32
        self.context = lib.llama_init_from_model(self.model, o)
        if not self.context:
            raise RuntimeError(f"{path}: no context: {said[-2:]}")
        self.warnings = [text.strip() for level, text in said if level >= 3 and text.strip("\n.") and "training context" not in text
                         and "dummy tokens" not in text]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        lib.llama_free(self.context)
        lib.llama_model_free(self.model)

    def tokenize(self, text):
        """Ids with what the model puts in front, special tokens in the text being such."""
        data = text.encode()
        ids = (INT * (len(data) + 8))()
        return ids[:lib.llama_tokenize(self.vocab, data, len(data), ids, len(ids), True, True)]

    def logprobs(self, ids):
        """log p of ids[1:], each behind those before it."""
        lib.llama_memory_clear(lib.llama_get_memory(self.context), True)
        batch = lib.llama_batch_init(len(ids), 0, 1)
        batch.n = len(ids)
        for i, token in enumerate(ids):
            batch.token[i], batch.pos[i], batch.sequences[i], batch.logits[i] = token, i, 1, 1
            batch.sequence[i][0] = 0
        assert lib.llama_decode(self.context, batch) == 0
        out = []
        for i, token in enumerate(ids[1:]):
            x = np.ctypeslib.as_array(lib.llama_get_logits_ith(self.context, i), (self.n,)).astype(np.float64)
            x -= x.max()
            out.append(x[token] - np.log(np.exp(x).sum()))
        lib.llama_batch_free(batch)
        return np.array(out)
