"""The criteria once more, sample by sample, from their definitions, with no code of the library."""

from __future__ import annotations

import numpy as np
import scipy.stats


def draw(seed=0, explainers=4, samples=25, perturbations=5, ties=False, undefined=False):
    """(clean [L, N], perturbed [P, L, N], used [P, N])."""
    rng = np.random.default_rng(seed)
    clean = rng.normal(size=(explainers, samples))
    perturbed = clean + 0.5 * rng.normal(size=(perturbations, explainers, samples))
    if ties:
        clean, perturbed = np.round(clean), np.round(perturbed)
    if undefined:
        clean[0, 3] = perturbed[1, 2, 5] = perturbed[2, 0, 3] = np.nan
    return clean, perturbed, rng.random((perturbations, samples)) < 0.7


def whole(clean, perturbed, used, p):
    """The used samples in which all explainers are defined."""
    return [
        n
        for n in range(clean.shape[1])
        if used[p, n] and np.isfinite(clean[:, n]).all() and np.isfinite(perturbed[p, :, n]).all()
    ]


def pairs(clean, perturbed, used, p, e):
    return [
        (clean[e, n], perturbed[p, e, n])
        for n in range(clean.shape[1])
        if used[p, n] and np.isfinite(clean[e, n]) and np.isfinite(perturbed[p, e, n])
    ]


def iac(clean, perturbed, used):
    def p_value(p, e):
        both = pairs(clean, perturbed, used, p, e)
        if not both:
            return np.nan
        d = [a - b for a, b in both]
        # SciPy 1.14 calls it "approx", later ones "asymptotic".
        try:
            found = scipy.stats.wilcoxon(d, zero_method="zsplit", method="asymptotic")
        except ValueError:
            found = scipy.stats.wilcoxon(d, zero_method="zsplit", method="approx")
        return found.pvalue

    return np.array([[p_value(p, e) for e in range(len(clean))] for p in range(len(perturbed))])


def mean(values):
    return np.mean(values) if len(values) else np.nan


def by_sample(of):
    def run(clean, perturbed, used, *given):
        return np.array(
            [
                mean(
                    [
                        of(clean[:, n], perturbed[p, :, n], *given)
                        for n in whole(clean, perturbed, used, p)
                    ]
                )
                for p in range(len(perturbed))
            ]
        )

    return run


@by_sample
def iec_minor(before, after):
    first = sorted(range(len(before)), key=lambda e: before[e])
    second = sorted(range(len(after)), key=lambda e: after[e])
    return np.mean([a == b for a, b in zip(first, second, strict=True)])


@by_sample
def iec_disruptive(before, after, direction):
    return np.mean(after < before if direction == "higher" else after > before)


@by_sample
def tau(before, after):
    if len(set(before)) == 1 or len(set(after)) == 1:
        return 0.0
    return scipy.stats.kendalltau(before, after).statistic


@by_sample
def react(before, after, direction):
    sign = 1 if direction == "higher" else -1
    return np.mean(np.sign(sign * (before - after)))


def agree(clean, perturbed, used):
    """From the table of a two-way analysis of variance."""
    found = []
    for p in range(len(perturbed)):
        cells = [pair for e in range(len(clean)) for pair in pairs(clean, perturbed, used, p, e)]
        v = np.array(cells)
        if len(v) < 2 or (v == v[0, 0]).all():
            found.append(np.nan)
            continue
        n, k = v.shape
        grand = v.mean()
        rows = k * ((v.mean(1) - grand) ** 2).sum() / (n - 1)
        columns = n * ((v.mean(0) - grand) ** 2).sum() / (k - 1)
        rest = v - v.mean(1, keepdims=True) - v.mean(0) + grand
        error = (rest**2).sum() / ((n - 1) * (k - 1))
        found.append((rows - error) / (rows + (k - 1) * error + k / n * (columns - error)))
    return np.array(found)


def recovery(levels, scores, direction):
    found = []
    for one in scores:  # [T, L, N]
        each = []
        for n in range(one.shape[2]):
            if not np.isfinite(one[:, :, n]).all():
                continue
            for e in range(one.shape[1]):
                worse = -one[:, e, n] if direction == "higher" else one[:, e, n]
                still = len(set(worse)) == 1
                each.append(0.0 if still else scipy.stats.spearmanr(levels, worse).statistic)
        found.append(mean(each))
    return np.array(found)
