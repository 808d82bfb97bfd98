#!/usr/bin/env python3
"""What PyTorch does in a second on a GPU: scripts/gpu_check runs this beside gpu_benchmark. One JSON object per line.

    gpu_peer.py facts      the device, the versions, the copy bandwidth and the bfloat16 product rate
    gpu_peer.py attention  SDPA by flash and by cuDNN, over the lengths, widths and masks of `gpu_benchmark attention`
    gpu_peer.py train --model=gpt2|shakespeare_char|tiny --mode=eager|compile --dtype=bfloat16

Tokens per second are those of a GPT-2 style loop: autocast, fused AdamW with decay on matrices, clipping, random
batches, the loss read every 10 steps. `--device=cpu` rehearses everything without a GPU.
"""

import argparse
import contextlib
import json
import pathlib
import sys
import time

import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from compare_pytorch import make_peer  # noqa: E402

MODELS = {
    "gpt2": dict(layers=12, heads=12, width=768, block=1024, batch=12, vocabulary=50304, dropout=0.0),
    "shakespeare_char": dict(layers=6, heads=6, width=384, block=256, batch=64, vocabulary=65, dropout=0.2),
    "tiny": dict(layers=2, heads=2, width=32, block=16, batch=2, vocabulary=65, dropout=0.0),
}


def numbers(text):
    return [int(part) for part in text.split(",")]


def wait(device):
    if device == "cuda":
        torch.cuda.synchronize()


def milliseconds(device, seconds, work):
    for _ in range(3):
        work()
    wait(device)
    start, count, batch = time.perf_counter(), 0, 1
    while time.perf_counter() - start < seconds:
        for _ in range(batch):
            work()
        wait(device)
        count, batch = count + batch, 2 * batch
    return 1e3 * (time.perf_counter() - start) / count


def run_facts(options):
    cuda = options.device == "cuda"
    size = 2**30 if cuda else 2**22
    source, target = (torch.zeros(size, dtype=torch.uint8, device=options.device) for _ in range(2))
    copy = milliseconds(options.device, options.seconds, lambda: target.copy_(source))
    side = 8192 if cuda else 256
    a, b = (torch.randn(side, side, device=options.device, dtype=torch.bfloat16) for _ in range(2))
    product = milliseconds(options.device, options.seconds, lambda: a @ b)
    print(json.dumps({
        "device": torch.cuda.get_device_name() if cuda else "cpu", "torch": torch.__version__,
        "cuda": torch.version.cuda or "none", "copy_gb_per_second": 2e-6 * size / copy,
        "bf16_product_tflops": 2e-9 * side**3 / product}), flush=True)


def attention_backend(name, device):
    if device == "cpu":
        return contextlib.nullcontext()
    from torch.nn.attention import SDPBackend, sdpa_kernel
    return sdpa_kernel(SDPBackend.FLASH_ATTENTION if name == "flash" else SDPBackend.CUDNN_ATTENTION)


def run_attention(options):
    for length in numbers(options.lengths):
        for width in numbers(options.widths):
            shape = (options.tokens // length, length, options.inner // width, width)
            inputs = [torch.randn(shape, device=options.device, dtype=torch.bfloat16).transpose(1, 2)
                      .requires_grad_(i < 3) for i in range(4)]
            for causal in (False, True):
                for backend in ("flash", "cudnn"):
                    try:
                        found = measure_attention(options, backend, causal, *inputs)
                    except RuntimeError as error:  # this version, or this GPU, has no such kernel
                        print(f"{backend}: {error}", flush=True)
                        continue
                    print(json.dumps({"backend": backend, "width": width, "length": length, "causal": causal,
                                      "batch": shape[0], "heads": shape[2], **found}), flush=True)


def measure_attention(options, backend, causal, q, k, v, dout):
    sdpa = torch.nn.functional.scaled_dot_product_attention
    with attention_backend(backend, options.device):
        forward = milliseconds(options.device, options.seconds, lambda: sdpa(q, k, v, is_causal=causal))
        out = sdpa(q, k, v, is_causal=causal)
        backward = milliseconds(options.device, options.seconds,
                                lambda: torch.autograd.grad(out, (q, k, v), dout, retain_graph=True))
    batch, heads, length, width = q.shape
    work = (2.0 if causal else 4.0) * batch * heads * width * length**2
    return {"forward_ms": forward, "backward_ms": backward, "forward_tflops": work / forward * 1e-9,
            "backward_tflops": 2.5 * work / backward * 1e-9}


def run_train(options):
    size, device = MODELS[options.model], options.device
    torch.manual_seed(1)
    torch.set_float32_matmul_precision("highest" if options.dtype == "float32" else "high")
    model = make_peer(torch, size, size["vocabulary"], size["dropout"]).to(device)
    groups = [{"params": [p for p in model.parameters() if p.dim() >= 2], "weight_decay": 0.1},
              {"params": [p for p in model.parameters() if p.dim() < 2], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.95), fused=device == "cuda")
    scaler = torch.amp.GradScaler(device, enabled=options.dtype == "float16")
    dtype = getattr(torch, options.dtype)
    narrow = contextlib.nullcontext() if dtype == torch.float32 else torch.amp.autocast(device, dtype=dtype)
    backend = "inductor" if device == "cuda" else "aot_eager"  # the rehearsal has no time to compile
    run = torch.compile(model, backend=backend) if options.mode == "compile" else model
    data = torch.randint(min(size["vocabulary"], 65), (64, size["batch"], size["block"] + 1), dtype=torch.int64)
    data = data.pin_memory() if device == "cuda" else data

    def step(i):
        batch = data[i % 64].to(device, non_blocking=True)
        with narrow:
            loss = run(batch[:, :-1], batch[:, 1:].contiguous())
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad(set_to_none=True)
        if i % 10 == 0:
            loss.item()

    for i in range(5):
        step(i)
    wait(device)
    start, steps = time.perf_counter(), 0
    while time.perf_counter() - start < options.seconds:
        for _ in range(5):
            step(steps)
            steps += 1
        wait(device)
    passed = time.perf_counter() - start
    print(json.dumps({
        "tokens_per_second": steps * size["batch"] * size["block"] / passed,
        "milliseconds_per_step": 1e3 * passed / steps, "steps": steps,
        "peak_bytes": torch.cuda.max_memory_allocated() if device == "cuda" else 0}), flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["facts", "attention", "train"])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seconds", type=float, default=0.2)
    parser.add_argument("--lengths", default="8192,1024,2048,4096,16384,512")
    parser.add_argument("--widths", default="128,64")
    parser.add_argument("--tokens", type=int, default=16384)
    parser.add_argument("--inner", type=int, default=2048)
    parser.add_argument("--model", default="gpt2", choices=list(MODELS))
    parser.add_argument("--mode", default="eager", choices=["eager", "compile"])
    parser.add_argument("--dtype", default="bfloat16", choices=["float32", "bfloat16", "float16"])
    options = parser.parse_args()
    {"facts": run_facts, "attention": run_attention, "train": run_train}[options.what](options)


if __name__ == "__main__":
    main()
