#!/usr/bin/env python3
"""Seconds from starting the program to its report of the first step: the small character model on a megabyte of text.

    python3 benchmarks/time_to_first_step.py [--program build/release/tessera] [--runs 9]

Prints every run and the median. The clock starts before the program is loaded and stops when the line of step 1 arrives.
"""

import argparse
import pathlib
import random
import statistics
import string
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
OPTIONS = """--device=cpu --n_layer=4 --n_head=4 --n_embd=128 --block_size=64 --batch_size=12 --dropout=0.0
--max_iters=2000 --eval_interval=2000 --log_interval=1""".split()


def seconds_to_first_step(program, text, folder):
    start = time.perf_counter()
    with subprocess.Popen([program, "train", f"--data={text}", f"--out_dir={folder}", *OPTIONS],
                          stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if line.startswith("step 1/"):
                elapsed = time.perf_counter() - start
                process.kill()
                return elapsed
    raise SystemExit("the program ended before its first step")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", default=str(ROOT / "build/release/tessera"))
    parser.add_argument("--runs", type=int, default=9)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        text = pathlib.Path(work, "text.txt")
        text.write_text("".join(random.Random(1).choices(string.ascii_letters + " .,\n", k=1_000_000)))
        runs = [seconds_to_first_step(arguments.program, text, f"{work}/run_{i}") for i in range(arguments.runs)]
    print("seconds to the first step:", " ".join(f"{run:.3f}" for run in runs), f"median {statistics.median(runs):.3f}")


if __name__ == "__main__":
    main()
