"""Drives torch.amp.GradScaler through random sequences of finite and non-finite steps and records scale and tracker.

    python tests/golden/make_grad_scaler.py tests/golden/grad_scaler.safetensors

Written with PyTorch 2.13 on the CPU. Every scale met is a power of two, so its exponent is stored.
"""

import sys

import numpy as np
import torch
from safetensors.numpy import save_file

SEQUENCES, STEPS = 10_000, 16

rng = np.random.default_rng(2026)
growth_interval = rng.integers(1, 6, SEQUENCES)
start = rng.integers(-3, 127, SEQUENCES)  # up to the largest power of two in float32
chance = rng.uniform(0, 0.6, SEQUENCES)
finite = rng.random((SEQUENCES, STEPS)) >= chance[:, None]
exponent = np.zeros((SEQUENCES, STEPS), dtype=np.int32)
tracker = np.zeros((SEQUENCES, STEPS), dtype=np.uint8)

for i in range(SEQUENCES):
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=0.0)
    scaler = torch.amp.GradScaler("cpu", init_scale=float(2.0 ** start[i]), growth_interval=int(growth_interval[i]))
    for step in range(STEPS):
        scaler.scale(torch.zeros(1))
        parameter.grad = torch.tensor([1.0 if finite[i, step] else float("inf")])
        scaler.step(optimizer)
        scaler.update()
        state = scaler.state_dict()
        exponent[i, step] = int(np.log2(state["scale"]))
        tracker[i, step] = state["_growth_tracker"]

assert exponent.min() > -126
save_file(
    {
        "growth_interval": growth_interval.astype(np.uint8),
        "start": start.astype(np.int32),
        "finite": finite.astype(np.uint8),
        "exponent": (exponent + 128).astype(np.uint8),
        "tracker": tracker,
    },
    sys.argv[1],
)
