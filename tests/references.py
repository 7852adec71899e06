"""Every public function and its first two derivatives, in float64 NumPy and SciPy.

Nothing here calls bcejax or JAX. Each reference takes the argument x along which it is
differentiated, the other arguments, and a direction t. It yields, in turn,

    the value V(x),    the gradient of Σ V,    the gradient's derivative along t,

each as a pair of the exact number and its size. The size is the sum of the magnitudes
of the terms that a float32 program has to add up or to multiply out; an error of it is
counted in roundings, each of which is at most 2⁻²⁴ of the size. Where a function keeps
its relative digits, the size is the magnitude of the exact number itself.
"""

import numpy as np
from scipy import special

sigma = special.expit


def of_magnitude(exact):
    return exact, np.abs(exact)


def softplus_of(x):
    return np.logaddexp(0, x)


def bump(x):
    """σ(x) σ(−x), the slope of σ."""
    return sigma(x) * sigma(-x)


def over_classes(x):
    return np.sum(x, -1, keepdims=True)


# Functions of one number


def sigmoid(x, t):
    yield of_magnitude(sigma(x))
    yield of_magnitude(bump(x))
    yield of_magnitude(-bump(x) * np.tanh(x / 2) * t)


def log_sigmoid(x, t):
    yield of_magnitude(-softplus_of(-x))
    yield of_magnitude(sigma(-x))
    yield of_magnitude(-bump(x) * t)


def softplus(x, t):
    yield of_magnitude(softplus_of(x))
    yield of_magnitude(sigma(x))
    yield of_magnitude(bump(x) * t)


def logit(p, t):
    yield of_magnitude(special.logit(p))
    yield of_magnitude(1 / p + 1 / (1 - p))
    one, other = t / (1 - p) ** 2, t / p**2
    yield one - other, np.abs(one) + np.abs(other)


def bernoulli_entropy(x, t):
    a = np.abs(x)
    yield of_magnitude(softplus_of(-a) + a * sigma(-a))
    yield of_magnitude(-x * bump(x))
    bend = x * np.tanh(x / 2)
    yield bump(x) * (bend - 1) * t, bump(x) * (bend + 1) * np.abs(t)


# Losses of a logit and a label


def bce(x, y, w, t):
    yield of_magnitude(w * y * softplus_of(-x) + (1 - y) * softplus_of(x))
    up, down = (1 - y) * sigma(x), w * y * sigma(-x)
    yield up - down, up + down
    yield of_magnitude((1 - y + w * y) * bump(x) * t)


def bce_of_head(x, y, t):
    """The sum over the classes. A NaN of the features is in all logits of its row."""
    each = bce(x + 0 * over_classes(x), y, 1, t)
    yield tuple(np.sum(part, -1) for part in next(each))
    yield from each


def bce_slope(x, y, w, t):
    up, down, mass = (1 - y) * sigma(x), w * y * sigma(-x), 1 - y + w * y
    yield up - down, up + down
    yield of_magnitude(mass * bump(x))
    yield of_magnitude(-mass * bump(x) * np.tanh(x / 2) * t)


def bce_curvature(x, y, w, t):
    h, mass, bend = bump(x), 1 - y + w * y, np.tanh(x / 2)
    yield of_magnitude(mass * h)
    yield of_magnitude(-mass * h * bend)
    square = bend**2
    yield mass * h * (square - 2 * h) * t, mass * h * (square + 2 * h) * np.abs(t)


def masked_bce(x, y, w, where, t):
    for exact, size in bce(x, y, w, t):
        yield np.where(where, exact, 0), np.where(where, size, 0)


def bce_of_probs(p, y, t):
    yield of_magnitude(-y * np.log(p) - (1 - y) * np.log1p(-p))
    up, down = (1 - y) / (1 - p), y / p
    yield up - down, up + down
    yield of_magnitude((up / (1 - p) + down / p) * t)


def focal(x, y, alpha, gamma, t):
    """The product rule, term by term, for α_t q^γ ℓ.

    Both terms of q have the slope σ(x) σ(−x), one up and one down.
    """
    q, q1 = (1 - y) * sigma(x) + y * sigma(-x), (1 - 2 * y) * bump(x)
    q2 = -q1 * np.tanh(x / 2)
    loss, up, down = y * softplus_of(-x) + (1 - y) * softplus_of(x), y, 1 - y
    loss1, loss2 = down * sigma(x) - up * sigma(-x), bump(x)
    size1 = down * sigma(x) + up * sigma(-x)
    weight = (alpha * y + (1 - alpha) * (1 - y)) * q**gamma
    yield of_magnitude(weight * loss)
    steep, steepest = gamma * q1 / q, gamma * bump(x) / q
    yield weight * (steep * loss + loss1), weight * (steepest * loss + size1)
    square = gamma * (gamma - 1) * (q1 / q) ** 2 * loss
    bent, mixed = gamma * q2 / q * loss, 2 * steep * loss1
    size = np.abs(gamma - 1) / gamma * steepest**2 * loss + steepest * loss
    size += 2 * steepest * size1 + loss2
    yield weight * (square + bent + mixed + loss2) * t, weight * size * np.abs(t)


def asymmetric(x, y, gamma_positive, gamma_negative, clip, t):
    positive = shifted_cost(-x, gamma_positive, 0)
    negative = shifted_cost(x, gamma_negative, clip)
    for (up, up_size), (down, down_size), sign, along in zip(
        positive, negative, (1, -1, 1), (1, 1, t), strict=True
    ):
        exact, size = sign * y * up + (1 - y) * down, y * up_size + (1 - y) * down_size
        yield exact * along, size * np.abs(along)


def shifted_cost(u, gamma, clip):
    """p_m^γ (−log(1 − p_m)) and two derivatives, each with its size.

    float32 knows p − clip to a rounding of p, which counts p/p_m times, and its power
    γ times as much.
    """
    p, q, off = sigma(u), sigma(-u), sigma(u) <= clip
    left = np.where(off, 1, p - clip)
    z, s, r = clip / left, q / (q + clip), clip / (q + clip)
    cost = softplus_of(u) if clip == 0 else -np.log(q + clip)
    power, blur = np.where(off, 0, left**gamma), (1 + z) * (1 + gamma)
    rate, slope = gamma * q * (1 + z), p * s
    yield power * cost, power * np.abs(cost) * blur
    first = rate * cost + slope
    yield power * first, power * first * blur
    rising = rate * (rate * cost + 2 * slope) + p * q * s
    falling = rate * (p + z * q) * cost + p * p * s * r
    yield power * (rising - falling), power * (rising + falling) * blur


def smoothed(y, amount, t):
    yield of_magnitude(y * (1 - amount) + amount / 2)
    yield of_magnitude(np.broadcast_to(1 - amount, y.shape))


def bernoulli_kl(a, b, t):
    """As a Bregman divergence of softplus, on the side where softplus(a) is small.

    e^(a − b) carries the rounding of a − b, which counts |a − b| times.
    """
    p, blur = sigma(a), 1 + np.abs(a) + np.abs(b)
    b_near, near = np.where(a > 0, -b, b), -np.abs(a)
    value = softplus_of(b_near) - softplus_of(near) - sigma(near) * (b_near - near)
    yield value, np.abs(value) * blur
    yield of_magnitude((a - b) * p * sigma(-a))
    bend = (a - b) * np.tanh(a / 2)
    yield bump(a) * (1 - bend) * t, bump(a) * (1 + np.abs(bend)) * np.abs(t)


# Softmax, along the last axis


class Softmax:
    """p = softmax(x), and what is lost of it in float32.

    exp(x − max x) carries the rounding of x − max x, which counts gap times.
    """

    def __init__(self, x):
        self.gap = np.max(x, -1, keepdims=True) - x
        mass, is_top = np.exp(-self.gap), np.zeros(x.shape, bool)
        self.largest = np.expand_dims(np.argmax(x, -1), -1)
        np.put_along_axis(is_top, self.largest, True, -1)
        others = np.where(is_top, 0, mass)
        rest, total = over_classes(others), over_classes(mass)
        self.p = mass / total
        # All but the class itself: total − mass would cancel for the largest.
        self.q = np.where(is_top, rest, total - mass) / total
        self.log_p = -self.gap - np.log1p(rest)
        lost = over_classes(others * (1 + self.gap)) / total
        self.log_size = self.gap + np.log1p(rest) + lost
        self.blur = 1 + self.gap + lost

    def curvature(self, t):
        """p_k (t_k − Σ p_j t_j), the derivative of p along t, and its size.

        The direction is taken relative to that of the largest class, whose own term,
        nearly 1 − p at times, falls out of the sum.
        """
        u = t - np.take_along_axis(t, self.largest, -1)
        exact = self.p * (u - over_classes(self.p * u))
        pull = over_classes(self.p * np.abs(t)) - self.p * np.abs(t)
        spread = 2 * np.abs(t) * self.q + np.maximum(pull, 0)
        return exact, self.p * self.blur * spread


def log_softmax(x, t):
    s, classes = Softmax(x), x.shape[-1]
    yield s.log_p, s.log_size
    yield 1 - classes * s.p, 1 + classes * s.p * s.blur
    exact, _ = s.curvature(t)
    size = s.p * s.blur * (np.abs(t) + over_classes(s.p * np.abs(t)))
    yield -classes * exact, classes * size


def softmax_loss(x, y, t):
    s, total = Softmax(x), over_classes(y)
    yield np.sum(-y * s.log_p, -1), np.sum(y * s.log_size, -1)
    rest = total - y
    exact, size = s.p * rest - y * s.q, s.p * rest * s.blur + y * s.q * s.blur
    yield exact, size
    exact, size = s.curvature(t)
    yield total * exact, total * size


def softmax_loss_in_labels(y, x, t):
    s = Softmax(x)
    yield np.sum(-y * s.log_p, -1), np.sum(y * s.log_size, -1)
    yield -s.log_p, s.log_size  # it does not depend on y


def integer_loss(x, label, t):
    s, column = Softmax(x), np.expand_dims(label, -1)
    value = np.take_along_axis(s.log_p, column, -1)
    size = np.take_along_axis(s.log_size, column, -1)
    yield -value.squeeze(-1), size.squeeze(-1)
    right = np.arange(x.shape[-1]) == column
    exact = np.where(right, -s.q, s.p)
    yield exact, np.abs(exact) * s.blur
    yield s.curvature(t)


def integer_loss_of_head(x, label, t):
    """The same, where a direction cannot be taken from that of the label's logit."""
    same = integer_loss(x, label, t)
    yield next(same)
    yield next(same)
    s, right = Softmax(x), np.arange(x.shape[-1]) == np.expand_dims(label, -1)
    of_all = over_classes(s.p * np.abs(t))
    of_others = over_classes(np.where(right, 0, s.p * np.abs(t)))
    pull = np.where(right, of_others + s.q * np.abs(t), of_all + np.abs(t))
    size = s.p * pull
    yield next(same)[0], size * s.blur


def smoothed_loss(x, label, amount, t):
    """The dense loss of the labels (1 − a) e_y + a/classes."""
    right = np.arange(x.shape[-1]) == np.expand_dims(label, -1)
    y = (1 - amount) * right + amount / x.shape[-1]
    (value, size), (slope, larger), curvature = softmax_loss(x, y, t)
    yield value, size
    p = Softmax(x).p
    yield slope, larger + np.maximum(p, amount / x.shape[-1])
    yield curvature


def logsumexp(x, t):
    s, top = Softmax(x), np.max(x, -1)
    over = np.log1p(np.expm1(special.logsumexp(x, -1) - top))
    lost = np.sum(s.p * s.gap, -1)
    yield top + over, np.abs(top) + over + lost
    yield s.p, s.p * s.blur
    yield s.curvature(t)


def softmax_entropy(x, t):
    s = Softmax(x)
    value = np.sum(-s.p * s.log_p, -1, keepdims=True)
    size = np.sum(s.p * s.blur * s.log_size, -1)
    yield value.squeeze(-1), size
    spread = over_classes(s.p * s.gap)
    slope, larger = s.p * (s.gap - spread), s.p * (s.gap + spread) * s.blur
    yield slope, larger
    yield _bent(s, slope - s.p, larger + s.p, slope, larger, t)


def _bent(s, slope_and_p, size, slope, larger, t):
    """c_k (s_k ± p_k) − p_k Σ s_j t_j, with c_k = t_k − Σ p_j t_j."""
    exact, _ = s.curvature(t)
    pull = over_classes(slope * t)
    around = np.abs(t) + over_classes(s.p * np.abs(t))
    error = size * around + s.p * s.blur * over_classes(larger * np.abs(t))
    return exact / s.p * slope_and_p - s.p * pull, error


def _softmax_pair(a, b):
    """The two, r = log p − log q, and the size of what r is the difference of.

    float32 knows the differences b − a to a rounding of themselves.
    """
    p, q = Softmax(a), Softmax(b)
    r = p.log_p - q.log_p
    d = b - a
    away = np.abs(d - np.take_along_axis(d, p.largest, -1))
    size = np.abs(d) + away + np.abs(p.log_p) + np.abs(q.log_p)
    return p, q, r, size + over_classes(p.p * away)


def softmax_kl(a, b, t):
    p, q, r, size = _softmax_pair(a, b)
    value = np.sum(special.kl_div(p.p, q.p), -1)
    moved = np.abs(q.p - p.p) * size + p.blur * np.abs(special.kl_div(p.p, q.p))
    yield value, np.sum(moved, -1) + np.abs(value)
    mean = over_classes(p.p * r)
    slope = p.p * (r - mean)
    larger = p.p * p.blur * (size + over_classes(p.p * size))
    yield slope, larger
    yield _bent(p, slope + p.p, larger + p.p, slope, larger, t)


def softmax_kl_in_q(b, a, t):
    p, q = Softmax(a), Softmax(b)
    yield next(softmax_kl(a, b, t))
    yield q.p - p.p, p.p * p.blur + q.p * q.blur
    yield q.curvature(t)


# Sums over probabilities, along the last axis


def entropy(p, t):
    yield of_magnitude(np.sum(special.entr(p), -1))
    yield -1 - np.log(p), 1 + np.abs(np.log(p))
    yield of_magnitude(-t / p)


def cross_entropy(p, q, t):
    yield of_magnitude(np.sum(-p * np.log(q), -1))
    yield of_magnitude(-np.log(q))


def cross_entropy_in_q(q, p, t):
    yield of_magnitude(np.sum(-p * np.log(q), -1))
    yield of_magnitude(-p / q)
    yield of_magnitude(p / q**2 * t)


def divergence(p, q, t):
    # A term is at least 1/6.2 of p |log(p/q)| + |q − p| where its two parts are added.
    value = np.sum(special.kl_div(p, q), -1)
    yield value, 6.2 * np.abs(value)
    yield of_magnitude(np.log(p / q))
    yield of_magnitude(t / p)  # whatever q is, NaN too


def divergence_in_q(q, p, t):
    yield next(divergence(p, q, t))
    yield of_magnitude((q - p) / q)
    yield of_magnitude(p / q**2 * t)


def best_logit(y, w, t):
    ones, zeros = over_classes(w * y), over_classes(w * (1 - y))
    value = np.log(ones / zeros).squeeze(-1)
    # Both sums are rounded, and so is their difference.
    yield value, 1 + np.abs(value)
    yield of_magnitude(w * (1 / ones + 1 / zeros))
    pull, square = over_classes(w * t), 1 / zeros**2 + 1 / ones**2
    exact = w * pull * (1 / zeros**2 - 1 / ones**2)
    yield exact, w * over_classes(w * np.abs(t)) * square


def best_logit_with_offset(y, w, f, t):
    """The root of Σ w (σ(f + λ) − y), bisected, and the implicit function theorem.

    An error of the sum moves the root by that error over the sum of the slopes.
    """
    low = np.full((*y.shape[:-1], 1), -64.0)
    high, empty = -low, np.isnan(over_classes(y))
    for _ in range(64):
        middle = (low + high) / 2
        above = over_classes(w * (sigma(f + middle) - y)) > 0
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    root = np.where(empty, np.nan, (low + high) / 2)
    z, total = f + root, over_classes(w * bump(f + root))
    mass = over_classes(w * ((1 - y) * sigma(z) + y * sigma(-z)))
    size = 1 + np.abs(root) + mass / total
    yield root.squeeze(-1), size.squeeze(-1)
    yield w / total, w / total * (1 + size)
    bend = over_classes(-w * bump(z) * np.tanh(z / 2)) * over_classes(w * t)
    reach = w * over_classes(w * np.abs(t)) / total**2
    yield -w * bend / total**3, reach * (1 + size)


# Means over rows


def log_loss(x, y, w, t):
    share = w / np.sum(w)
    value, slope, curvature = bce(x, y, 1, t)
    yield tuple(np.sum(share * part) for part in value)
    yield tuple(share * part for part in slope)
    yield tuple(share * part for part in curvature)


def brier_score(x, y, w, t):
    (miss, size), (h, _), (bend, _) = bce_slope(x, y, 1, 1)
    share = w / np.sum(w)
    yield np.sum(share * miss**2), np.sum(share * size**2)
    yield 2 * share * miss * h, 2 * share * size * h
    exact = 2 * share * (h**2 + miss * bend) * t
    yield exact, 2 * share * (h**2 + size * np.abs(bend)) * np.abs(t)


def roc_auc(x, y, w, t):
    """The weight of negatives below each logit, ties at half, by their sorted sums."""
    levels, place = np.unique(x, return_inverse=True)
    negative = np.bincount(place, w * (1 - y), len(levels))
    outranked = (np.cumsum(negative) - negative / 2)[place]
    pairs = np.sum(w * y) * np.sum(w * (1 - y))
    value = np.sum(w * y * outranked) / pairs
    yield of_magnitude(np.where(np.any(np.isnan(x)), np.nan, value))
    yield of_magnitude(np.zeros(x.shape))


def calibration(x, y, w, t):
    """Ten equal bins (a, b], the first with its 0: sums, or 0 in an empty bin."""
    p = sigma(x)
    place = np.clip(np.ceil(np.nan_to_num(p) * 10).astype(int) - 1, 0, 9)
    weight, of_p, of_y = (np.bincount(place, a, 10) for a in (w, w * p, w * y))
    filled = np.where(weight == 0, 1, weight)
    value = np.stack([of_p / filled, of_y / filled, weight])
    yield of_magnitude(np.where(np.any(np.isnan(x)), np.nan, value))
