"""A small transformer as llama.cpp's architecture "llama" has it, and how it learns.

RMSNorm before each part, rotary positions on neighbouring pairs, SwiGLU, no biases; the tokens'
embeddings are the output's matrix, too. Matrices learn by Muon (momentum, made orthogonal), all else by
Adam.
"""
import concurrent.futures
import dataclasses
import math
import time

import torch
import torch.nn.functional as F

EPSILON = 1e-5
ROTATION_BASE = 10000.0
NOT_LEARNED = -100  # In the place of a token that is to follow.
MUON_RATE, ADAM_RATE = 0.02, 0.015


@dataclasses.dataclass(frozen=True)
class Shape:
    vocabulary: int
    context: int
    width: int
    layers: int
    heads: int
    hidden: int

    @property
    def head(self):
        return self.width // self.heads


def normed(x, weight):
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + EPSILON) * weight


def rotated(x, cosine, sine):
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack((even * cosine - odd * sine, even * sine + odd * cosine), -1).flatten(-2)


class Block(torch.nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.shape = shape

        def matrix(rows, columns, scale=1.0):
            return torch.nn.Parameter(torch.randn(rows, columns) * scale * columns ** -0.5)

        width, hidden, back = shape.width, shape.hidden, (2 * shape.layers) ** -0.5
        self.attn_norm = torch.nn.Parameter(torch.ones(width))
        self.attn_q, self.attn_k, self.attn_v = (matrix(width, width) for _ in range(3))
        self.attn_output = matrix(width, width, back)
        self.ffn_norm = torch.nn.Parameter(torch.ones(width))
        self.ffn_gate, self.ffn_up = matrix(hidden, width), matrix(hidden, width)
        self.ffn_down = matrix(width, hidden, back)

    def forward(self, x, cosine, sine, past):
        x = x + self.attend(normed(x, self.attn_norm), cosine, sine, past)
        y = normed(x, self.ffn_norm)
        return x + F.linear(F.silu(F.linear(y, self.ffn_gate)) * F.linear(y, self.ffn_up), self.ffn_down)

    def attend(self, x, cosine, sine, past):
        rows, length, width = x.shape

        def heads(matrix):
            return F.linear(x, matrix).view(rows, length, self.shape.heads, -1).transpose(1, 2)

        query, value = rotated(heads(self.attn_q), cosine, sine), heads(self.attn_v)
        key = rotated(heads(self.attn_k), cosine, sine)
        if past is not None:
            key, value = past.joined(self, key, value)
        scores = query @ key.transpose(2, 3) * self.shape.head ** -0.5
        if length > 1:
            later = torch.full((length, key.shape[2]), -math.inf).triu(1 + key.shape[2] - length)
            scores = scores + later
        mixed = scores.softmax(-1) @ value
        return F.linear(mixed.transpose(1, 2).reshape(rows, length, width), self.attn_output)


class Past:
    """The keys and values of what was read already."""

    def __init__(self):
        self.length, self.kept = 0, {}

    def joined(self, block, key, value):
        if block in self.kept:
            before = self.kept[block]
            key, value = torch.cat((before[0], key), 2), torch.cat((before[1], value), 2)
        self.kept[block] = key, value
        return key, value


class Transformer(torch.nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.shape = shape
        self.token_embd = torch.nn.Parameter(torch.randn(shape.vocabulary, shape.width) * 0.02)
        self.blk = torch.nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.output_norm = torch.nn.Parameter(torch.ones(shape.width))
        angles = torch.outer(torch.arange(shape.context), ROTATION_BASE ** (
            -torch.arange(0, shape.head, 2) / shape.head))
        self.cosine, self.sine = angles.cos(), angles.sin()

    def forward(self, tokens, past=None):
        begin = past.length if past else 0
        end = begin + tokens.shape[1]
        x = F.embedding(tokens, self.token_embd)
        for block in self.blk:
            x = block(x, self.cosine[begin:end], self.sine[begin:end], past)
        if past:
            past.length = end
        return F.linear(normed(x, self.output_norm), self.token_embd)


def orthogonal(matrix):
    """Near the closest orthogonal matrix, by Newton and Schulz's iteration."""
    x = matrix / (matrix.norm() + 1e-7)
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    for _ in range(5):
        square = x @ x.T
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x.T if tall else x


class Muon:
    """One matrix's learning: momentum, made orthogonal."""

    def __init__(self, matrix):
        self.matrix, self.moving = matrix, torch.zeros_like(matrix)

    @torch.no_grad()
    def step(self, gradient, rate, momentum=0.95, decay=0.02):
        self.moving.lerp_(gradient, 1 - momentum)
        change = orthogonal(gradient.lerp(self.moving, momentum))
        rows, columns = self.matrix.shape
        self.matrix.mul_(1 - rate * decay)
        self.matrix.add_(change, alpha=-rate * max(1, rows / columns) ** 0.5)


class Learning:
    """Two threads share each step: libraries' own threads wait for each other far more often."""

    def __init__(self, model, threads=2):
        self.model, self.threads = model, concurrent.futures.ThreadPoolExecutor(threads)
        self.shares = threads
        self.parameters = list(model.parameters())
        self.muons = [Muon(each) for each in self.parameters if self.is_matrix(each)]
        self.adam = torch.optim.Adam([each for each in self.parameters if not self.is_matrix(each)],
                                     betas=(0.9, 0.98), eps=1e-10)

    def is_matrix(self, parameter):
        return parameter.ndim == 2 and parameter is not self.model.token_embd

    def gradients(self, given, wanted):
        logits = self.model(given)
        loss = F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), ignore_index=NOT_LEARNED)
        return loss.item(), torch.autograd.grad(loss, self.parameters)

    def step(self, given, wanted, share):
        """Learns of two [rows, length] of tokens, at a share of the highest rate; gives the loss."""
        losses, gradients = zip(*self.threads.map(
            self.gradients, given.chunk(self.shares), wanted.chunk(self.shares)))
        for parameter, *parts in zip(self.parameters, *gradients):
            parameter.grad = sum(parts) / len(parts)
        list(self.threads.map(lambda each: each.step(each.matrix.grad, MUON_RATE * share), self.muons))
        for group in self.adam.param_groups:
            group["lr"] = ADAM_RATE * share
        self.adam.step()
        return sum(losses) / len(losses)


def share_at(done):
    """Of the highest rate, when `done` of all steps are made: up, level, down to nothing."""
    return min(1.0, 0.1 + done / 0.03, (1 - done) / 0.5)


def learn(model, batches, report):
    learning, begun = Learning(model), time.monotonic()
    for step, (given, wanted) in enumerate(batches):
        loss = learning.step(given, wanted, share_at(step / len(batches)))
        if step % 20 == 0:
            report(step, len(batches), loss, time.monotonic() - begun)
