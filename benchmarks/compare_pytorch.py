#!/usr/bin/env python3
"""Training steps of this project beside PyTorch eager, on the CPU, in one run, by turns.

    python3 benchmarks/compare_pytorch.py [--models nano mid] [--rounds 5] [--seconds 10] [--threads 2]

Needs PyTorch 2 in the Python that runs it, and build/release/benchmarks/training_benchmark. Every round starts a fresh
process for each side, pinned to the same CPUs, so that neither warms the machine for the other; the medians and the
ratios of the medians are printed, and the median of the ratios taken round by round. The peer is the usual GPT-2 style
training loop: fused attention, AdamW with decay on matrices only, clipping, a batch drawn from a memory map and the
loss read at every step.
"""

import argparse
import json
import math
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
SIZES = {
    "nano": dict(layers=4, heads=4, width=128, block=64, batch=12),
    "mid": dict(layers=6, heads=6, width=384, block=256, batch=16),
}
VOCABULARY = 65


# ── The peer, in a process of its own ──


def make_peer(torch, size, vocabulary=VOCABULARY, dropout=0.0):
    nn, functional = torch.nn, torch.nn.functional

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            width = size["width"]
            self.norm_1, self.norm_2 = nn.LayerNorm(width, bias=False), nn.LayerNorm(width, bias=False)
            self.qkv, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
            self.up, self.down = nn.Linear(width, 4 * width, bias=False), nn.Linear(4 * width, width, bias=False)
            self.drop = nn.Dropout(dropout) if dropout else nn.Identity()

        def attention(self, x):
            batch, length, width = x.shape
            heads = [part.view(batch, length, size["heads"], -1).transpose(1, 2) for part in self.qkv(x).chunk(3, -1)]
            y = functional.scaled_dot_product_attention(
                *heads, is_causal=True, dropout_p=dropout if self.training else 0.0)
            return self.out(y.transpose(1, 2).reshape(batch, length, width))

        def forward(self, x):
            x = x + self.drop(self.attention(self.norm_1(x)))
            return x + self.drop(self.down(functional.gelu(self.up(self.norm_2(x)))))

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.tokens = nn.Embedding(vocabulary, size["width"])
            self.positions = nn.Embedding(size["block"], size["width"])
            self.blocks = nn.Sequential(*(Block() for _ in range(size["layers"])))
            self.norm = nn.LayerNorm(size["width"], bias=False)
            self.head = nn.Linear(size["width"], vocabulary, bias=False)
            for parameter in self.parameters():
                if parameter.dim() >= 2:
                    nn.init.normal_(parameter, std=0.02)
            self.head.weight = self.tokens.weight

        def forward(self, ids, targets):
            x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1], device=ids.device))
            logits = self.head(self.norm(self.blocks(x)))
            return functional.cross_entropy(logits.flatten(0, 1), targets.flatten())

    return Model()


def run_peer(name, threads, seconds):
    import numpy
    import torch

    size = SIZES[name]
    torch.set_num_threads(threads)
    torch.manual_seed(1)
    model = make_peer(torch, size)
    groups = [
        {"params": [p for p in model.parameters() if p.dim() >= 2], "weight_decay": 0.1},
        {"params": [p for p in model.parameters() if p.dim() < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.99))
    with tempfile.NamedTemporaryFile() as file:
        numpy.random.default_rng(1).integers(VOCABULARY, size=1_000_000, dtype=numpy.uint16).tofile(file.name)
        data = numpy.memmap(file.name, dtype=numpy.uint16, mode="r")

    def batch():
        starts = torch.randint(len(data) - size["block"], (size["batch"],)).tolist()
        rows = [torch.from_numpy(data[i : i + size["block"] + 1].astype(numpy.int64)) for i in starts]
        windows = torch.stack(rows)
        return windows[:, :-1].contiguous(), windows[:, 1:].contiguous()

    def step():
        loss = model(*batch())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item()

    for _ in range(3):
        step()
    steps, start, cpu = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - start < seconds:
        step()
        steps += 1
    elapsed, cpu = time.perf_counter() - start, time.process_time() - cpu
    print(json.dumps({
        "tokens_per_second": steps * size["batch"] * size["block"] / elapsed,
        "milliseconds_per_step": 1e3 * elapsed / steps,
        "cpu_milliseconds_per_step": 1e3 * cpu / steps,
        "peak_rss_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    }))


# ── The comparison ──


def measure(command, threads):
    cpus = sorted(os.sched_getaffinity(0))[:threads]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    if command[0] == sys.executable:
        environment |= {"OMP_PROC_BIND": "true"}  # the other side pins its threads itself
    done = subprocess.run(command, env=environment, text=True, capture_output=True,
                          preexec_fn=lambda: os.sched_setaffinity(0, cpus))
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def median(rounds, key):
    values = [r[key] for r in rounds if key in r]
    return statistics.median(values) if values else math.nan


def table_row(label, rounds):
    share = median(rounds, "share_of_peak")
    print(f"  {label:18} {median(rounds, 'tokens_per_second'):10,.0f} tokens/s "
          f"{median(rounds, 'milliseconds_per_step'):9.2f} ms/step "
          f"{median(rounds, 'cpu_milliseconds_per_step'):9.2f} ms CPU/step "
          f"{'' if math.isnan(share) else f'{share:7.1%} of peak':15} "
          f"{median(rounds, 'peak_rss_bytes') / 2**20:8.0f} MiB peak RSS")


def ratio_row(label, ours, theirs, key, target, less=False):
    by_round = statistics.median(a[key] / b[key] for a, b in zip(ours, theirs))
    of_medians = median(ours, key) / median(theirs, key)
    met = of_medians <= target if less else of_medians >= target
    print(f"  {label:34} {of_medians:6.2f}x  (round by round {by_round:.2f}x; target {'<=' if less else '>='} {target}x"
          f": {'met' if met else 'missed'})")


def compare(name, options):
    program = str(options.program)
    common = ["--rounds=1", f"--seconds={options.seconds}", f"--threads={options.threads}"]
    sides = {
        "ours float32": [program, name, *common],
        "PyTorch float32": [sys.executable, __file__, "--peer", name, "--threads", str(options.threads),
                            "--seconds", str(options.seconds)],
    }
    if name == "mid":
        sides["ours bfloat16"] = [program, name, *common, "--dtype=bfloat16"]
    rounds = {label: [] for label in sides}
    for _ in range(options.rounds):
        for label, command in sides.items():
            rounds[label].append(measure(command, options.threads))
    print(f"{name}: {SIZES[name]}, {options.threads} threads, {options.rounds} rounds of {options.seconds} s")
    for label, results in rounds.items():
        table_row(label, results)
    ours, theirs = rounds["ours float32"], rounds["PyTorch float32"]
    ratio_row("speed, ours / PyTorch", ours, theirs, "tokens_per_second", {"nano": 1.4, "mid": 1.1}[name])
    share, wanted = median(ours, "share_of_peak"), {"nano": 0.6, "mid": 0.7}[name]
    print(f"  {'share of the multiply-add peak':34} {share:6.1%}   (target >= {wanted:.0%}: "
          f"{'met' if share >= wanted else 'missed'})")
    if name == "mid":
        ratio_row("bfloat16 / float32, ours", rounds["ours bfloat16"], ours, "tokens_per_second", 1.6)
        ratio_row("peak RSS, ours / PyTorch", ours, theirs, "peak_rss_bytes", 0.6, less=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--program", type=pathlib.Path, default=ROOT / "build/release/benchmarks/training_benchmark")
    parser.add_argument("--peer", choices=SIZES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer:
        run_peer(options.peer, options.threads, options.seconds)
        return
    if not options.program.exists():
        sys.exit(f"{options.program}: not built; cmake --build build/release --target training_benchmark")
    for name in options.models:
        compare(name, options)


if __name__ == "__main__":
    main()
