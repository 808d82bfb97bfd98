#!/usr/bin/env python3
"""Predicts the step time of data-parallel training from 8 to 1,024 GPUs: python3 benchmarks/scaling_model.py [--help]

What one GPU needs for a step comes from a measurement (--tokens-per-second on one GPU, e.g. of training_benchmark) or,
without one, from a share of its peak (--utilization). Links are the makers' figures times --link-efficiency. The
reducer's buckets are replayed one by one: a bucket is sent when backward has computed its last gradient and the one
before it is through, so what is left over after backward is the time that nothing hides.
"""
import argparse
import math

# name: layers, width, vocabulary, context
MODELS = {"124M": (12, 768, 50304, 1024), "350M": (24, 1024, 50304, 1024), "774M": (36, 1280, 50304, 1024),
          "1558M": (48, 1600, 50304, 1024)}
# dense bf16 peak, memory, NVLink one way per GPU, network one way per GPU: all per second
MACHINES = {"h100": (989e12, 3.35e12, 450e9, 50e9),  # DGX H100: NVLink 4, 8 x ConnectX-7 at 400 Gb/s
            "a100": (312e12, 2.04e12, 300e9, 25e9)}  # DGX A100 80 GB: NVLink 3, 8 x HDR at 200 Gb/s
PER_NODE = 8
MIB = 1 << 20


def gradients(model):
    """(elements, the share of backward that is done when it is final) of each gradient in the arena's order, and the
    multiply-adds of a token."""
    layers, width, vocabulary, context = MODELS[model]
    flops_block = 6 * 12 * width * width + 6 * width * context  # causal attention: half of the full scores
    flops_head = 6 * vocabulary * width
    total = layers * flops_block + flops_head
    done, result = flops_head / total, []  # the head's weight is the embedding's: it is final only at the very end
    for _ in range(layers):
        for parts in (4, 4, 1, 2, 1):  # feed-forward down and up; attention's output, keys and values, queries
            done += parts / 12 * flops_block / total
            result.append((parts * width * width, done))
    return result + [(context * width, 1.0), (vocabulary * width, 1.0), ((2 * layers + 1) * width, 1.0)], total


def buckets(gradients, first_bytes, bytes_):
    """(elements, the share of backward that is done when they are complete). Cut where a gradient ends, in float32."""
    result, size = [], 0
    for elements, moment in gradients:
        size += elements
        if 4 * size >= (bytes_ if result else first_bytes):
            result.append((size, moment))
            size = 0
    return result + ([(size, 1.0)] if size else [])


def collective_seconds(size, gpus, machine, options, passes):
    """A ring's transport time plus a tree's latency; passes: 2 for an all-reduce, 1 for half of one."""
    _, _, nvlink, network = MACHINES[machine]
    nodes = math.ceil(gpus / PER_NODE)
    link = nvlink if nodes == 1 else min(nvlink, PER_NODE * network)
    latency = options.latency_node + (options.latency_network * math.ceil(math.log2(nodes)) if nodes > 1 else 0)
    return passes * (gpus - 1) / gpus * size / (options.link_efficiency * link) + passes * latency


def step(gpus, tokens, options, reduce_bytes, zero):
    """Seconds of a step with `tokens` per GPU: computing, communicating, and the part of it that nothing hides."""
    peak, memory, _, _ = MACHINES[options.machine]
    in_order, flops_per_token = gradients(options.model)
    parameters = sum(elements for elements, _ in in_order)
    cut = buckets(in_order, options.first_bucket_mb * MIB, options.bucket_mb * MIB)
    if options.tokens_per_second:
        compute = tokens / options.tokens_per_second
    else:
        compute = tokens * flops_per_token / (options.utilization * peak)
    backward = compute * 2 / 3 / options.accumulation  # only the last micro-batch's backward hides anything
    free = total = 0.0
    for elements, moment in cut:
        seconds = collective_seconds(reduce_bytes * elements, gpus, options.machine, options, 1 if zero else 2)
        free = max(free, moment * backward) + seconds
        total += seconds
    exposed = max(0.0, free - backward)
    numbers = 4 if zero else 2  # the loss, and who wants to stop; whether the norm, added up, is finite
    after = numbers * collective_seconds(8, gpus, options.machine, options, 2)
    if zero:
        after += sum(collective_seconds(2 * elements, gpus, options.machine, options, 1) for elements, _ in cut)
    exposed, total = exposed + after, total + after
    # The scan reads the gradient; AdamW does again, reads and writes master and moments, and writes the mirror.
    update = 34 * parameters / (0.85 * memory) / (gpus if zero else 1)
    return compute, update, total, exposed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=MODELS, default="124M")
    parser.add_argument("--machine", choices=MACHINES, default="h100")
    parser.add_argument("--global-tokens", type=int, default=524288, help="of a step, at any number of GPUs")
    parser.add_argument("--tokens-per-gpu", type=int, default=0, help="of a step instead, so that the batch grows")
    parser.add_argument("--accumulation", type=int, default=1, help="micro-batches per step and GPU")
    parser.add_argument("--tokens-per-second", type=float, default=0, help="measured on one GPU")
    parser.add_argument("--utilization", type=float, default=0.45, help="share of the peak otherwise")
    parser.add_argument("--link-efficiency", type=float, default=0.8)
    parser.add_argument("--latency-node", type=float, default=20e-6, help="seconds, of a collective inside a node")
    parser.add_argument("--latency-network", type=float, default=15e-6, help="seconds, of each doubling of the nodes")
    parser.add_argument("--first-bucket-mb", type=float, default=1)
    parser.add_argument("--bucket-mb", type=float, default=25)
    options = parser.parse_args()

    print("| GPUs | tokens per GPU | computing | float32: communicating | left over | efficiency | bfloat16: left over"
          " | efficiency | zero = 1: left over | efficiency |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for power in range(3, 11):
        gpus = 1 << power
        tokens = options.tokens_per_gpu or options.global_tokens / gpus
        alone = sum(step(1, tokens, options, 4, False)[:2])
        cells = []
        for reduce_bytes, zero in ((4, False), (2, False), (4, True)):
            compute, update, total, exposed = step(gpus, tokens, options, reduce_bytes, zero)
            if not cells:
                cells += [f"{1e3 * compute:.1f} ms", f"{1e3 * total:.1f} ms"]
            cells += [f"{1e3 * exposed:.1f} ms", f"{100 * alone / (compute + update + exposed):.0f} %"]
        print(f"| {gpus} | {tokens:,.0f} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
