"""Quantiles of Student's t for whole degrees of freedom: all that means over items need."""

import math
from statistics import NormalDist

import numpy as np


def student_quantile(probability: float, degrees: int) -> float:
    """The `probability` quantile (0 to 1, both excluded) of Student's t; `degrees` is 1 or more.

    Newton's method on P(|T| < t), which is concave there: from the normal quantile, which is
    smaller, every step stays below the root, so that it can only converge.
    """
    if not 0 < probability < 1 or degrees < 1:
        raise ValueError(f"no quantile at {probability} with {degrees} degrees of freedom")
    if probability < 0.5:
        return -student_quantile(1 - probability, degrees)
    wanted, t = 2 * probability - 1, NormalDist().inv_cdf(probability)
    for _ in range(200):
        step = (wanted - _within(t, degrees)) / (2 * _density(t, degrees))
        t += step
        if step <= 1e-14 * t:  # below zero only once rounding is all that is left
            break
    return t


def _within(t: float, degrees: int) -> float:
    """P(|T| < t).

    Source: Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4.
    """
    angle = math.atan(t / math.sqrt(degrees))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = degrees % 2
    k = np.arange(1, degrees // 2)
    terms = np.cumprod((2 * k - 1 + odd) / (2 * k + odd) * cosine**2)
    if odd:
        series = cosine * (1 + float(terms.sum())) if degrees > 1 else 0.0
        return 2 / math.pi * (angle + sine * series)
    return sine * (1 + float(terms.sum()))


def _density(t: float, degrees: int) -> float:
    half = (degrees + 1) / 2
    scale = math.lgamma(half) - math.lgamma(degrees / 2) - math.log(degrees * math.pi) / 2
    return math.exp(scale - half * math.log1p(t * t / degrees))
