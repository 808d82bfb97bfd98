#!/usr/bin/env python3
"""Makes the golden files of tests/modules/language_model_golden_test.cpp with PyTorch in float64.

    python3 tests/golden/make_language_model.py        # needs torch and safetensors; writes beside this script

Each file holds one small model under this project's parameter names: weights (float32 values, computed with in float64),
one batch, its loss, every gradient, and the losses and gradient norms of 50 AdamW steps on fixed batches. Attention,
norms and the rotation are written out, so that they are a second opinion and not a library's fast path.
"""

import math
import pathlib
from dataclasses import dataclass

import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional

STEPS, BATCH, LENGTH = 50, 3, 13
OPTIMIZER = dict(learning_rate=1e-2, min_lr=1e-3, warmup=5, decay=45, betas=(0.9, 0.95), weight_decay=0.1, clip=1.0)


@dataclass
class Shape:
    vocab: int
    layers: int
    heads: int
    width: int
    kv_heads: int
    hidden: int
    block: int = 17
    style: str = "gpt2"  # or "llama"
    gelu: str = "none"  # PyTorch's name of the approximation


class RMSNorm(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x):
        return x / torch.sqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5) * self.weight


class LayerNorm(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x):
        centred = x - x.mean(-1, keepdim=True)
        return centred / torch.sqrt(centred.pow(2).mean(-1, keepdim=True) + 1e-5) * self.weight + self.bias


def make_norm(shape):
    return RMSNorm(shape.width) if shape.style == "llama" else LayerNorm(shape.width)


def rotate(x):
    """x [B, N, H, D]: the pair (d, d + D/2) turns by position · 10000^(-2d/D)."""
    half = x.shape[-1] // 2
    frequencies = 10000.0 ** (-torch.arange(half, dtype=x.dtype) / half)
    angles = torch.arange(x.shape[1], dtype=x.dtype)[:, None] * frequencies
    cosine, sine = angles.cos()[:, None, :], angles.sin()[:, None, :]
    first, second = x[..., :half], x[..., half:]
    return torch.cat([first * cosine - second * sine, second * cosine + first * sine], -1)


class Attention(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.shape = shape
        self.size = shape.width // shape.heads
        bias = shape.style == "gpt2"
        self.to_q = nn.Linear(shape.width, shape.width, bias=bias)
        self.to_kv = nn.Linear(shape.width, 2 * shape.kv_heads * self.size, bias=bias)
        self.to_out = nn.Linear(shape.width, shape.width, bias=bias)

    def forward(self, x):
        batch, length, _ = x.shape
        q = self.to_q(x).view(batch, length, self.shape.heads, self.size)
        keys, values = self.to_kv(x).chunk(2, -1)
        k = keys.reshape(batch, length, self.shape.kv_heads, self.size)
        v = values.reshape(batch, length, self.shape.kv_heads, self.size)
        if self.shape.style == "llama":
            q, k = rotate(q), rotate(k)
        group = self.shape.heads // self.shape.kv_heads
        k, v = k.repeat_interleave(group, 2), v.repeat_interleave(group, 2)
        scores = torch.einsum("bihd,bjhd->bhij", q, k) / math.sqrt(self.size)
        hidden = torch.ones(length, length).triu(1).bool()
        weights = scores.masked_fill(hidden, -math.inf).softmax(-1)
        return self.to_out(torch.einsum("bhij,bjhd->bihd", weights, v).reshape(batch, length, -1))


class FeedForward(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.shape = shape
        gated = shape.style == "llama"
        self.up = nn.Linear(shape.width, shape.hidden * (2 if gated else 1), bias=not gated)
        self.down = nn.Linear(shape.hidden, shape.width, bias=not gated)

    def forward(self, x):
        y = self.up(x)
        if self.shape.style == "llama":
            gate, up = y.chunk(2, -1)
            return self.down(gate * torch.sigmoid(gate) * up)
        return self.down(functional.gelu(y, approximate=self.shape.gelu))


class Block(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.norm_1, self.attention = make_norm(shape), Attention(shape)
        self.norm_2, self.feed_forward = make_norm(shape), FeedForward(shape)

    def forward(self, x):
        x = x + self.attention(self.norm_1(x))
        return x + self.feed_forward(self.norm_2(x))


class LanguageModel(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.shape = shape
        self.wte = nn.Embedding(shape.vocab, shape.width)
        if shape.style == "gpt2":
            self.wpe = nn.Embedding(shape.block, shape.width)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = make_norm(shape)
        if shape.style == "llama":
            self.lm_head = nn.Linear(shape.width, shape.vocab, bias=False)

    def forward(self, ids):
        x = self.wte(ids)
        if self.shape.style == "gpt2":
            x = x + self.wpe(torch.arange(ids.shape[1]))
        for block in self.blocks:
            x = block(x)
        table = self.lm_head.weight if self.shape.style == "llama" else self.wte.weight
        return self.norm(x) @ table.T

    def loss(self, ids, targets):
        return functional.cross_entropy(self(ids).flatten(0, 1), targets.flatten().long(), ignore_index=-1)


def draw_weights(model):
    """Larger than an initialisation, and no norm weight 1 or bias 0, so that every gradient has something to show."""
    for name, parameter in model.named_parameters():
        drawn = torch.randn(parameter.shape) * 0.2
        if "norm" in name and name.endswith("weight"):
            drawn = 1 + drawn
        parameter.data = drawn.float().to(torch.float64)


def draw_batches(shape):
    ids = torch.randint(shape.vocab, (STEPS, BATCH, LENGTH))
    targets = torch.randint(shape.vocab, (STEPS, BATCH, LENGTH))
    targets[torch.rand(targets.shape) < 0.2] = -1
    return ids, targets


def learning_rate(step):
    warmup, decay = OPTIMIZER["warmup"], OPTIMIZER["decay"]
    if step < warmup:
        return OPTIMIZER["learning_rate"] * (step + 1) / (warmup + 1)
    if step > decay:
        return OPTIMIZER["min_lr"]
    left = 0.5 * (1 + math.cos(math.pi * (step - warmup) / (decay - warmup)))
    return OPTIMIZER["min_lr"] + left * (OPTIMIZER["learning_rate"] - OPTIMIZER["min_lr"])


def train(model, ids, targets):
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    vectors = [p for p in model.parameters() if p.dim() < 2]
    groups = [{"params": matrices, "weight_decay": OPTIMIZER["weight_decay"]}, {"params": vectors, "weight_decay": 0}]
    optimizer = torch.optim.AdamW(groups, betas=OPTIMIZER["betas"], eps=1e-8)
    losses, norms = [], []
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step)
        loss = model.loss(ids[step], targets[step])
        optimizer.zero_grad()
        loss.backward()
        norms.append(nn.utils.clip_grad_norm_(model.parameters(), OPTIMIZER["clip"]).item())
        optimizer.step()
        losses.append(loss.item())
    return torch.tensor(losses), torch.tensor(norms)


def make(name, shape):
    torch.manual_seed(1)
    model = LanguageModel(shape)
    draw_weights(model)
    ids, targets = draw_batches(shape)
    loss = model.loss(ids[0], targets[0])
    loss.backward()
    tensors = {f"weight.{key}": value.detach().float() for key, value in model.named_parameters()}
    tensors |= {f"gradient.{key}": value.grad.clone() for key, value in model.named_parameters()}
    losses, norms = train(model, ids, targets)
    tensors |= {"ids": ids.int(), "targets": targets.int(), "loss": loss.detach(), "losses": losses, "norms": norms}
    path = pathlib.Path(__file__).parent / f"{name}.safetensors"
    save_file(tensors, path)
    print(f"{path.name}: {path.stat().st_size // 1024} KiB, loss {loss:.6f}, after {STEPS} steps {losses[-1]:.6f}, "
          f"norms {norms.min():.3f} to {norms.max():.3f}")


if __name__ == "__main__":
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    make("gpt2", Shape(vocab=65, layers=2, heads=3, width=24, kv_heads=3, hidden=96))
    make("gpt2_tanh", Shape(vocab=31, layers=1, heads=2, width=16, kv_heads=2, hidden=64, gelu="tanh"))
    make("llama", Shape(vocab=61, layers=2, heads=4, width=24, kv_heads=2, hidden=64, style="llama"))
