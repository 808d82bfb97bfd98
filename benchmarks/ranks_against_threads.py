#!/usr/bin/env python3
"""Tokens per second of N ranks with one thread each beside one rank with N threads, on the same cores of one machine.

    python3 benchmarks/ranks_against_threads.py [--model mid] [--ranks 2] [--rounds 3] [--iterations 12]

The sides train by turns, each round in fresh processes, on random text. What is printed is the speed of the iterations
after the first one, as metrics.jsonl has it, each side's median, and the median of the ratios taken round by round.
"""

import argparse
import json
import pathlib
import random
import statistics
import string
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
MODELS = {
    "nano": "--n_layer=4 --n_head=4 --n_embd=128 --block_size=64 --batch_size=12",
    "mid": "--n_layer=6 --n_head=6 --n_embd=384 --block_size=256 --batch_size=16",
}


def train(program, model, text, folder, ranks, threads, iterations):
    """The last line of metrics.jsonl, which is about the iterations after the first."""
    subprocess.run([program, "train", f"--data={text}", f"--out_dir={folder}", f"--ranks={ranks}", f"--threads={threads}",
                    *MODELS[model].split(), "--device=cpu", "--dropout=0.0", "--eval_iters=1", "--tensorboard=False",
                    "--max_new_tokens=1", "--warmup_iters=1", f"--max_iters={iterations}", f"--eval_interval={iterations}",
                    f"--log_interval={iterations}"], check=True, stdout=subprocess.DEVNULL)
    with open(folder / "metrics.jsonl", encoding="utf-8") as lines:
        return json.loads(lines.readlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", default=str(ROOT / "build/release/tessera"))
    parser.add_argument("--model", choices=MODELS, default="mid")
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--iterations", type=int, default=12)
    arguments = parser.parse_args()
    speeds = {"ranks": [], "threads": []}
    with tempfile.TemporaryDirectory() as work:
        work = pathlib.Path(work)
        text = work / "text.txt"
        text.write_text("".join(random.Random(1).choices(string.ascii_letters + " .,\n", k=500_000)), encoding="utf-8")
        for index in range(arguments.rounds):
            for side, ranks, threads in (("ranks", arguments.ranks, 1), ("threads", 1, arguments.ranks)):
                row = train(arguments.program, arguments.model, text, work / f"{side}{index}", ranks, threads,
                            arguments.iterations)
                speeds[side].append(row["tokens_per_second"])
                more = "".join(f", {name} {row[name]:.2f}" for name in
                               ("communication_share", "overlap", "scaling_efficiency") if name in row)
                print(f"{ranks} × {threads}: {row['tokens_per_second']:,.0f} tokens/s{more}", flush=True)
    ranks, threads = (statistics.median(speeds[side]) for side in ("ranks", "threads"))
    ratio = statistics.median(a / b for a, b in zip(speeds["ranks"], speeds["threads"]))
    print(f"{arguments.model}: {arguments.ranks} ranks × 1 thread {ranks:,.0f} tokens/s, 1 rank × {arguments.ranks} threads "
          f"{threads:,.0f} tokens/s, ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
