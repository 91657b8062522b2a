"""One MeZO step of an OPT-shaped fp32 model in PyTorch, as a peer of zo2-bench:

    mezo_step.py LAYERS HIDDEN HEADS FFN VOCAB CONTEXT TOKENS THREADS

As MeZO is described (arXiv 2305.17333, algorithm 1): every parameter is perturbed in place by +eps z, the loss is
taken, -2 eps z, the loss, +eps z, and then w -= lr g z; z is drawn again from the step's seed each time, parameter by
parameter. Random weights, one row of random tokens. Answers each request "step PASSES" with the mean seconds of a step
and the peak resident bytes so far.
"""
import resource
import signal
import sys
import time

signal.signal(signal.SIGINT, signal.SIG_DFL)
EPS, LR = 1e-3, 1e-6

try:
    import torch
    from torch.nn import functional
except ImportError:
    print("missing torch", flush=True)
    sys.exit(0)


class Layer(torch.nn.Module):
    def __init__(self, hidden, heads, ffn):
        super().__init__()
        self.heads = heads
        self.attention_norm = torch.nn.LayerNorm(hidden)
        self.q, self.k, self.v, self.out = (torch.nn.Linear(hidden, hidden) for _ in range(4))
        self.ffn_norm = torch.nn.LayerNorm(hidden)
        self.fc1, self.fc2 = torch.nn.Linear(hidden, ffn), torch.nn.Linear(ffn, hidden)

    def forward(self, x, mask):
        tokens, hidden = x.shape
        y = self.attention_norm(x)
        q, k, v = (f(y).view(tokens, self.heads, -1).transpose(0, 1) for f in (self.q, self.k, self.v))
        if hasattr(functional, "scaled_dot_product_attention"):
            y = functional.scaled_dot_product_attention(q[None], k[None], v[None], is_causal=True)[0]
        else:
            scores = torch.baddbmm(mask, q, k.transpose(1, 2), alpha=(hidden // self.heads) ** -0.5)
            y = torch.bmm(torch.softmax(scores, -1), v)
        x = x + self.out(y.transpose(0, 1).reshape(tokens, hidden))
        return x + self.fc2(torch.relu(self.fc1(self.ffn_norm(x))))


class Model(torch.nn.Module):
    def __init__(self, layers, hidden, heads, ffn, vocab, context):
        super().__init__()
        self.tokens, self.positions = torch.nn.Embedding(vocab, hidden), torch.nn.Embedding(context + 2, hidden)
        self.layers = torch.nn.ModuleList(Layer(hidden, heads, ffn) for _ in range(layers))
        self.norm = torch.nn.LayerNorm(hidden)

    def forward(self, ids):
        n = ids.numel()
        x = self.tokens(ids) + self.positions(torch.arange(2, n + 2))
        mask = torch.full((n, n), float("-inf")).triu(1)
        for layer in self.layers:
            x = layer(x, mask)
        logits = functional.linear(self.norm(x)[:-1], self.tokens.weight)
        return functional.cross_entropy(logits, ids[1:])


def perturb(parameters, seed, scale):
    torch.manual_seed(seed)
    for p in parameters:
        p.add_(torch.normal(mean=0.0, std=1.0, size=p.shape), alpha=scale)


def step(model, parameters, ids, seed):
    perturb(parameters, seed, EPS)
    plus = model(ids).item()
    perturb(parameters, seed, -2 * EPS)
    minus = model(ids).item()
    perturb(parameters, seed, EPS)
    perturb(parameters, seed, -LR * (plus - minus) / (2 * EPS))


def main():
    layers, hidden, heads, ffn, vocab, context, tokens, threads = map(int, sys.argv[1:])
    torch.set_num_threads(threads)
    with torch.inference_mode():
        model = Model(layers, hidden, heads, ffn, vocab, context)
        parameters = list(model.parameters())
        for p in parameters:
            if p.dim() == 2:
                p.normal_(std=0.02)
        ids = torch.randint(4, vocab, (tokens,))
        print("ready", torch.__version__, flush=True)
        seed = 0
        for line in sys.stdin:
            passes = int(line.split()[-1])
            start = time.perf_counter()
            for _ in range(passes):
                step(model, parameters, ids, seed)
                seed += 1
            seconds = (time.perf_counter() - start) / passes
            print(seconds, 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, flush=True)


main()
