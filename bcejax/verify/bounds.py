"""The largest errors that bcejax promises, in units in the last place (ulp).

This is the only table of them: the tests, `python -m bcejax verify` and the digits in
docs/guarantees.md read it. The same bounds hold on every device. They were measured on
CPUs only, so `verify` says where another device does not keep them.

An error counts in ulp of the exact value, or of the larger of the terms that cancel in
it, where that is a normal number of the dtype that is computed in: float64 for float64,
float32 for the others. For 16 bits half an ulp is what the one rounding at the end
costs, and the float32 beneath it may push a near tie over to the wrong side.
"""

DTYPES = ("bfloat16", "float16", "float32", "float64")
ORDERS = ("value", "slope", "curvature")


def _row(float32: float, float64: float) -> dict[str, float]:
    return {
        "bfloat16": 0.51,
        "float16": 0.51,
        "float32": float32,
        "float64": float64,
    }


# Per family of functions and order of derivative. Those of the sigmoid family are the
# contract; the others were rounded up from figures in benchmarks/RESULTS.md, or from
# what `verify` itself met with jax 0.10.0 and 0.12.0, whichever was larger.
BOUNDS = {
    # sigmoid, log_sigmoid, softplus, and the loss of a logit against labels 0 and 1
    "sigmoid": {"value": _row(3, 4), "slope": _row(3, 4), "curvature": _row(5, 6)},
    # σ″, which multiplies σ′ by a hyperbolic tangent of XLA, errs by 7.9 in float64
    "sigmoid itself": {
        "value": _row(3, 4),
        "slope": _row(3, 4),
        "curvature": _row(6, 9),
    },
    # logit, bce_with_probs, smooth_labels and optimal_logit
    "probability": {
        "value": _row(4.5, 4.5),
        "slope": _row(4, 4),
        "curvature": _row(5, 6),
    },
    # sigmoid_focal_loss for γ up to 5, which multiplies the error of a logarithm
    "focal": {"value": _row(8, 8), "slope": _row(10, 9), "curvature": _row(12, 12)},
    # asymmetric_loss for γ up to 4; at p ≈ clip relative to the digits of p − clip
    "asymmetric": {
        "value": _row(10, 10),
        "slope": _row(10, 10),
        "curvature": _row(12, 12),
    },
    # the three softmax functions, for few classes (3, or 12 in float32), and for 1,024
    "softmax": {"value": _row(3, 4), "slope": _row(4, 4), "curvature": _row(6, 6)},
    "softmax of many": {
        "value": _row(4, 6),
        "slope": _row(6, 8),
        "curvature": _row(8, 8),
    },
    # logsumexp, softmax_entropy and softmax_kl_divergence, whose slopes err most where
    # log q − log p has cancelled: by 7.2
    "softmax information": {
        "value": _row(8, 8),
        "slope": _row(8, 8),
        "curvature": _row(8, 8),
    },
    # linear_bce, linear_softmax_cross_entropy and sigmoid_contrastive_loss, of logits
    # that are sums without a rounding
    "head": {"value": _row(4, 4), "slope": _row(4, 5), "curvature": _row(7, 7)},
    # entropy, cross_entropy and kl_divergence, whose slope log(p/q) errs by 5.2
    "information": {"value": _row(4, 4), "slope": _row(6, 6), "curvature": _row(5, 6)},
    # bernoulli_entropy and bernoulli_kl_divergence
    "bernoulli": {
        "value": _row(16, 16),
        "slope": _row(8, 8),
        "curvature": _row(9, 12),
    },
}

# How far the mean of float32 losses, its gradient and the squared norms of gradients
# may be from exact ones, as a share of the sum of the absolute terms. Any order of
# summation of the 2,000 or 40,000 terms is allowed, and errs by much less than this.
OF_SUMS = 2e-5
