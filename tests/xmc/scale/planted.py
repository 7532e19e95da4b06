"""Runs that obey planted laws, with noise: what the fits are judged by."""

import numpy as np

from xmc.scale.laws import ErrorLaw, SizeLaw
from xmc.scale.points import Point, Size

LOSS = SizeLaw(irreducible=1.2, a=60.0, b=25.0, eta=0.17)
ERROR = ErrorLaw(eps=0.97, k=1.4, gamma=0.75)
SIZES = [(parameters, pairs) for parameters in (1e6, 4e6) for pairs in (2e3, 5e3, 1.2e4, 3e4)]
HELD_OUT = 2000
TARGET = (4e6, 6e5)


def size(parameters, pairs):
    queries = int(pairs)
    return Size(int(parameters), int(pairs), queries, queries * 100, queries // 50, 64)


def loss_of(parameters, pairs):
    return float(LOSS(np.array([parameters]), np.array([pairs]))[0])


def error_of(loss):
    return float(ERROR(np.array([loss]))[0])


def seconds_of(pairs):
    return 2.0 + 1e-3 * pairs


def points(*, noise=0.01, seed=0, sizes=SIZES, held_out=HELD_OUT):
    """Runs of these sizes; the loss and the seconds have relative noise, hits are counted among held-out queries."""
    generator = np.random.default_rng(seed)
    found = []
    for row, (parameters, pairs) in enumerate(sizes):
        loss = loss_of(parameters, pairs) * np.exp(noise * generator.standard_normal())
        hits = generator.binomial(held_out, 1 - error_of(loss)) / held_out if noise else 1 - error_of(loss)
        seconds = seconds_of(pairs) * np.exp(noise * generator.standard_normal())
        found.append(Point(f"run-{row}", size(parameters, pairs), loss, float(hits), held_out, float(seconds)))
    return found
