"""Noise and updates by NumPy or PyTorch, as a peer of zo2-bench: arrays.py numpy|torch

Reads requests "WHAT DIST THREADS N PASSES" and answers each with the mean seconds of a pass.
  noise   N values of z into a buffer that is there already
  update  w -= c z for N weights, z drawn afresh: what MeZO does to a parameter
"""
import signal
import sys
import time

signal.signal(signal.SIGINT, signal.SIG_DFL)
C = 1e-6


def numpy_work():
    import numpy

    rng = numpy.random.default_rng(0)
    buffers = {}

    def buffer(name, n):
        if buffers.get(name) is None or buffers[name].size != n:
            buffers[name] = numpy.zeros(n, dtype=numpy.float32)
        return buffers[name]

    def noise(dist, z):
        if dist == "gaussian":
            rng.standard_normal(dtype=numpy.float32, out=z)
        else:
            z[:] = rng.integers(0, 2, size=z.size, dtype=numpy.int8)
            z *= 2
            z -= 1

    def work(what, dist, threads, n):
        z = buffer("z", n)
        if what == "noise":
            return lambda: noise(dist, z)
        w = buffer("w", n)

        def update():
            noise(dist, z)
            numpy.multiply(z, numpy.float32(C), out=z)
            numpy.subtract(w, z, out=w)

        return update

    return numpy.__version__, work


def torch_work():
    import torch

    buffers = {}

    def buffer(name, n):
        if buffers.get(name) is None or buffers[name].numel() != n:
            buffers[name] = torch.zeros(n)
        return buffers[name]

    def noise(dist, z):
        if dist == "gaussian":
            z.normal_()
        else:
            z.bernoulli_(0.5).mul_(2).sub_(1)

    def work(what, dist, threads, n):
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        z = buffer("z", n)
        if what == "noise":
            return lambda: noise(dist, z)
        w = buffer("w", n)

        def update():
            noise(dist, z)
            w.add_(z, alpha=-C)

        return update

    return torch.__version__, work


def main():
    name = sys.argv[1]
    try:
        version, work = {"numpy": numpy_work, "torch": torch_work}[name]()
    except ImportError:
        print("missing", name, flush=True)
        return
    print("ready", version, flush=True)
    for line in sys.stdin:
        what, dist, threads, n, passes = line.split()
        run = work(what, dist, int(threads), int(n))
        start = time.perf_counter()
        for _ in range(int(passes)):
            run()
        print((time.perf_counter() - start) / int(passes), flush=True)


main()
