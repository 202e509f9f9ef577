"""The objectives in float64 NumPy, written from the papers' formulas and not from the package."""

import numpy as np
from scipy.special import digamma, gammaln


def unit(z):
    norm = np.linalg.norm(z, axis=1, keepdims=True)
    return z / np.where(norm == 0, 1, norm)


def log_sum(values):
    if len(values) == 0:
        return -np.inf
    top = np.max(values)
    return top + np.log(np.sum(np.exp(values - top)))


def similarities(a, b, normalize, kind="inner_product"):
    if normalize:
        a, b = unit(a), unit(b)
    if kind == "inner_product":
        return a @ b.T
    return -((a[:, None] - b[None]) ** 2).sum(-1)


def as_mask(of_rows):
    """A mask as it is; of an integer per row, where these are equal."""
    return of_rows if of_rows.ndim == 2 else of_rows[:, None] == of_rows


def infonce(
    a,
    b,
    *,
    temperature,
    symmetric=True,
    normalize=True,
    similarity="inner_product",
    exclude=None,
    negatives=None,
):
    s = similarities(a, b, normalize, similarity) / temperature
    n = len(a)
    beside = np.zeros((n, 0))
    if negatives is not None:
        beside = similarities(a, negatives, normalize, similarity) / temperature
    exclude = None if exclude is None else as_mask(exclude)
    out = np.zeros(n)
    for i in range(n):
        kept = [j for j in range(n) if j == i or exclude is None or not exclude[i, j]]
        forward = log_sum(np.append(s[i, kept], beside[i])) - s[i, i]
        kept = [j for j in range(n) if j == i or exclude is None or not exclude[j, i]]
        backward = log_sum(s[kept, i]) - s[i, i]
        out[i] = (forward + backward) / 2 if symmetric else forward
    return out


def _of_several(logits, positive, candidate, denominator):
    """Loss of each row of logits, given its positives and the columns that count."""
    out = np.zeros(len(logits))
    for i, row in enumerate(logits):
        own = np.flatnonzero(positive[i])
        negatives = np.flatnonzero(candidate[i] & ~positive[i])
        terms = []
        for p in own:
            others = own if denominator == "all" else [p]
            terms.append(log_sum(row[[*negatives, *others]]) - row[p])
        out[i] = np.mean(terms) if terms else 0
    return out


def infonce_of_several(a, b, *, temperature, positives, denominator, symmetric=True):
    s = similarities(a, b, True) / temperature
    positive, candidate = as_mask(positives), np.ones(s.shape, bool)
    forward = _of_several(s, positive, candidate, denominator)
    if not symmetric:
        return forward
    return (forward + _of_several(s.T, positive.T, candidate.T, denominator)) / 2


def nt_xent_of_several(a, b, *, temperature, positives, denominator):
    s, partner = _views(a, b)
    candidate = ~np.eye(len(s), dtype=bool)
    positive = np.tile(as_mask(positives), (2, 2))
    positive[np.arange(len(s)), partner] = True
    return _mean_of_views(
        _of_several(s / temperature, positive & candidate, candidate, denominator)
    )


def _kept(exclude, n):
    """True where a pair counts: not excluded, or the positive."""
    if exclude is None:
        return np.ones((n, n), bool)
    return ~as_mask(exclude) | np.eye(n, dtype=bool)


def clip(a, b, *, logit_scale, logit_bias=0.0, exclude=None):
    n = len(a)
    logits = logit_scale * unit(a) @ unit(b).T + logit_bias
    logits = np.where(_kept(exclude, n), logits, -np.inf)
    rows = [log_sum(logits[i]) - logits[i, i] for i in range(n)]
    columns = [log_sum(logits[:, i]) - logits[i, i] for i in range(n)]
    return (np.array(rows) + np.array(columns)) / 2


def _views(a, b, normalize=True):
    v = np.concatenate([a, b])
    s = similarities(v, v, normalize)
    n = len(a)
    return s, np.concatenate([np.arange(n, 2 * n), np.arange(n)])


def _mean_of_views(per_view):
    return per_view.reshape(2, -1).mean(0)


def nt_xent(a, b, *, temperature, normalize=True, exclude=None):
    s, partner = _views(a, b, normalize)
    s = s / temperature
    shown = np.arange(len(s)) if exclude is None else np.tile(exclude, 2)
    out = []
    for i in range(len(s)):
        kept = (shown != shown[i]) | (np.arange(len(s)) == partner[i])
        out.append(log_sum(s[i, kept]) - s[i, partner[i]])
    return _mean_of_views(np.array(out))


def dcl(a, b, *, temperature):
    s, partner = _views(a, b)
    s = s / temperature
    out = [log_sum(np.delete(s[i], [i, partner[i]])) - s[i, partner[i]] for i in range(len(s))]
    return _mean_of_views(np.array(out))


@np.errstate(over="ignore")
def debiased_infonce(a, b, *, temperature, positive_prior, hardness=0.0):
    s, partner = _views(a, b)
    out = []
    for i in range(len(s)):
        negative = np.delete(s[i], [i, partner[i]])
        # All exponentials over the largest of a negative.
        top = negative.max()
        positive = np.exp((s[i, partner[i]] - top) / temperature)
        negative = np.exp((negative - top) / temperature)
        n = len(negative)
        weight = negative**hardness
        weighted = (weight * negative).sum() / weight.mean()
        g = (weighted - positive_prior * n * positive) / (1 - positive_prior)
        log_floor = np.log(n) - (1 + top) / temperature
        log_g = max(np.log(g), log_floor) if g > 0 else log_floor
        out.append(np.logaddexp(0, log_g - (s[i, partner[i]] - top) / temperature))
    return _mean_of_views(np.array(out))


def has_positive(positives):
    return (as_mask(positives) & ~np.eye(len(positives), dtype=bool)).any(1)


def sup_con(z, positives, *, temperature):
    s = similarities(z, z, True) / temperature
    positives = as_mask(positives)
    out = np.zeros(len(z))
    for i in range(len(z)):
        partners = [p for p in range(len(z)) if p != i and positives[i, p]]
        if partners:
            total = log_sum(np.delete(s[i], i))
            out[i] = np.mean([total - s[i, p] for p in partners])
    return out


def moco(q, k, negatives, *, temperature):
    q, k, negatives = unit(q), unit(k), unit(negatives)
    out = []
    for query, key in zip(q, k, strict=True):
        logits = np.concatenate([[query @ key], negatives @ query]) / temperature
        out.append(log_sum(logits) - logits[0])
    return np.array(out)


def siglip(a, b, *, logit_scale, logit_bias, exclude=None, positives=None):
    logits = logit_scale * unit(a) @ unit(b).T + logit_bias
    sign = 2 * (np.eye(len(a)) if positives is None else as_mask(positives)) - 1
    return (np.logaddexp(0, -sign * logits) * _kept(exclude, len(a))).sum(1)


def alignment(a, b, *, exponent=2.0):
    return np.linalg.norm(unit(a) - unit(b), axis=1) ** exponent


def uniformity(z, *, t=2.0):
    # Rows of zeros have one direction, at right angles to all others.
    z = unit(np.concatenate([z, ~z.any(axis=1, keepdims=True)], axis=1))
    pairs = [(i, j) for i in range(len(z)) for j in range(i)]
    potential = np.array([-t * ((z[i] - z[j]) ** 2).sum() for i, j in pairs])
    return log_sum(potential) - np.log(len(pairs))


def negative_cosine(a, b):
    return -np.sum(unit(a) * unit(b), axis=1)


def barlow_twins(a, b, *, off_diagonal_weight=5e-3, epsilon=1e-5):
    a, b = ((z - z.mean(0)) / np.sqrt(z.var(0) + epsilon) for z in (a, b))
    c = a.T @ b / len(a)
    total = 0.0
    for k in range(len(c)):
        for m in range(len(c)):
            total += (1 - c[k, k]) ** 2 if k == m else off_diagonal_weight * c[k, m] ** 2
    return total


def vicreg(a, b):
    def parts(z):
        covariance = np.cov(z.T)
        hinge = np.maximum(0, 1 - np.sqrt(np.diag(covariance) + 1e-4)).mean()
        return hinge, (covariance**2).sum() / z.shape[1] - (np.diag(covariance) ** 2).sum() / len(
            covariance
        )

    (v1, c1), (v2, c2) = parts(a), parts(b)
    return 25 * ((a - b) ** 2).mean() + 25 * (v1 + v2) / 2 + c1 + c2


def norm_entropy_regulariser(z, *, norm_weight, entropy):
    estimate = {"gaussian": gaussian_entropy, "knn": knn_entropy, "kernel": kernel_entropy}[entropy]
    return norm_weight * np.mean((z**2).sum(1)) - estimate(z)


def gaussian_entropy(z):
    n, p = z.shape
    s = np.cov(z.T, bias=True).reshape(p, p)
    tr, tr2 = np.trace(s), np.trace(s @ s)
    rho = ((1 - 2 / p) * tr2 + tr**2) / ((n + 1 - 2 / p) * (tr2 - tr**2 / p))
    shrunk = (1 - min(rho, 1)) * s + min(rho, 1) * tr / p * np.eye(p)
    return np.linalg.slogdet(2 * np.pi * np.e * shrunk)[1] / 2


def _distances(z):
    distance = np.linalg.norm(z[:, None] - z[None], axis=-1)
    return distance[~np.eye(len(z), dtype=bool)].reshape(len(z), -1)


def knn_entropy(z, k=3):
    n, d = z.shape
    log_ball = d / 2 * np.log(np.pi) - gammaln(d / 2 + 1)
    log_radius = np.log(np.sort(_distances(z), axis=1)[:, k - 1])
    return digamma(n) - digamma(k) + log_ball + d * log_radius.mean()


def kernel_entropy(z):
    n, d = z.shape
    width = (4 / ((d + 2) * n)) ** (1 / (d + 4)) * np.sqrt(z.var(0).mean())
    log_kernel = -(_distances(z) ** 2) / (2 * width**2) - d / 2 * np.log(2 * np.pi * width**2)
    return -np.mean([log_sum(row) - np.log(n - 1) for row in log_kernel])


def jacobian(function, arguments, step=1e-5):
    """Central differences in float64: for every argument, its shape and then the function's."""
    out = []
    for position, argument in enumerate(arguments):
        slope = np.zeros(argument.shape + np.shape(function(*arguments)))
        for index in np.ndindex(argument.shape):
            values = []
            for sign in (1, -1):
                moved = [a.copy() for a in arguments]
                moved[position][index] += sign * step
                values.append(function(*moved))
            slope[index] = (values[0] - values[1]) / (2 * step)
        out.append(slope)
    return out
