"""The verdict: are the coordinates normal, the directions uniform, the norms a thin shell?

Each part has an answer, its reason, and effect sizes with 95% intervals, what an exact Gaussian scores,
and the smallest departure that this number of rows detects with 80% power.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from infonce_jax.evaluation.concentration import EQUAL_NORMS
from infonce_jax.evaluation.detectable import directions_fail_from
from infonce_jax.evaluation.isotropy import detectable_anisotropy, detectable_resultant
from infonce_jax.evaluation.shrinkage import NEAR_DUPLICATE
from infonce_jax.evaluation.verdict_coordinates import judge_coordinates
from infonce_jax.evaluation.verdict_parts import (
    CLOSE,
    FAILS,
    HOLDS,
    TOO_FEW,
    UNDECIDED,
    UNTESTED,
    Z95,
    Effect,
    Part,
    effect,
    rounded,
    told,
)

PARTS = ("coordinates", "directions", "norms")
# The worst answer first: it is that of the whole.
_BY_WEIGHT = (FAILS, UNTESTED, UNDECIDED, CLOSE, HOLDS)
# Departures up to these count as close where they are found.
_CLOSE_RESULTANT, _CLOSE_RANK, _CLOSE_RATIO = 0.1, 0.9, 1.25
QUOTE_RAW = (
    "Normalised rows keep only the directions: for a claim about the representations, quote the verdict "
    "of the raw rows."
)
# Representations whose rows have other directions than the embeddings, and why none are tested there.
NO_DIRECTIONS = {
    "principal": "Not tested along principal axes, which are taken about the mean: directions are those "
    "of the rows as seen from the origin. The verdict of the raw rows has them.",
    "projected": "Not tested of random projections, which are not orthogonal and change the directions. "
    "The verdict of the raw rows has them.",
    "spherical": "Not tested after the map of each coordinate, which changes them. The verdict of the "
    "raw or normalised rows has them.",
}
_REMEDY = (
    "A mean off the origin, unequal variances and correlated coordinates lower the effective rank: "
    "`infonce-jax whiten` takes all three out, and names near duplicates (|correlation| > "
    f"{NEAR_DUPLICATE:g})."
)
_Z99, _Z80 = 2.575829, 0.841621
_GRIDS = {
    "integer": "whole numbers",
    "grid": "multiples of a step",
    "float16": "values rounded to float16",
    "bfloat16": "values rounded to bfloat16",
}


class Verdict(NamedTuple):
    """What the largest sample of one embedding set says.

    Attributes:
        source: which set.
        representation: "raw", "normalized" or another.
        answer: the worst of the parts' answers: "holds" says that nothing speaks against an isotropic
            Gaussian.
        sentence: the whole in one sentence, to quote.
        text: the sentence, the notes, and the parts with their reasons, each on a line.
        coordinates: are they normal?
        directions: are they uniform on the sphere?
        norms: are they as concentrated as a Gaussian's? "untested" is not counted in `answer` where the
            representation has no norms, and neither is it of directions that are not the rows' own.
        notes: what is special about the data: repeated rows, values on a grid, equal norms.
    """

    source: str
    representation: str
    answer: str
    sentence: str
    text: str
    coordinates: Part
    directions: Part
    norms: Part
    notes: tuple[str, ...] = ()


def verdicts(summary: Iterable[Mapping[str, Any]]) -> list[Verdict]:
    """One verdict for each embedding set and representation, on the largest sample.

    * Coordinates hold where A² shows no departure at this n: by the global test where it was made
      (p > 0.01, both of the mean A² and of the smallest p-value). Otherwise two things must be true. As
      many coordinates have p > 0.05 as d independent Gaussian ones in 99.5% of samples. And none is
      rejected at a false discovery rate of 5% under any dependence (Benjamini & Yekutieli 2001). They
      are close where a departure is so small that at 1,000 rows the average coordinate would pass,
      0.384 + 1000 Δ̂ < 0.752. They are undecided where n rows would miss even a Laplace coordinate in
      more than a fifth of samples (n < 94).
    * Directions hold where neither the Rayleigh nor the Bingham test rejects at 0.5%. They are close
      where the mean resultant length is below 0.1 and the effective rank above 0.9 d.
    * Norms hold where the logarithm of their CV over that of a Gaussian with the same mean and
      covariance is within 2.58 standard errors of 0, or where they are more alike than that: a thin
      shell. They are close up to a ratio of 1.25.

    Directions and norms are undecided where departures that count as close could not be told from
    larger ones with 80% power.

    Quote the verdict of the raw rows: it is about the representations. Normalised rows have lost their
    norms, so that their verdict is about directions alone. In few dimensions it says "fails" even of
    uniform ones, whose coordinates follow a beta law. A note says from which n on.

    Examples:
        >>> z = np.random.default_rng(0).standard_normal((2000, 16)) + 3  # off centre: a cone
        >>> rows = evaluation.evaluate_arrays(z, sample_sizes=("all",), representations=("raw",))
        >>> verdict = evaluation.verdicts(evaluation.summarise(rows))[0]
        >>> verdict.coordinates.answer, verdict.directions.answer
        ('holds', 'fails')

    Args:
        summary: as `infonce_jax.evaluation.summarise` returns it.
    """
    groups: dict[tuple[str, Any, Any, str], dict[int, dict[str, Mapping[str, Any]]]] = {}
    for row in summary:
        if row["statistic"].startswith("group_"):
            continue
        key = (row["source"], row["hyperparameters"], row["split"], row["representation"])
        groups.setdefault(key, {}).setdefault(row["n"], {})[row["statistic"]] = row
    found = []
    for (source, hyperparameters, split, representation), by_n in groups.items():
        n = max(by_n)
        values = {name: row["mean"] for name, row in by_n[n].items()}
        # Each seed has coordinates of its own.
        values["seeds"] = by_n[n].get("ad_calibrated_pass", {"count": 1})["count"]
        dim = next(iter(by_n[n].values()))["dim"]
        of = [v for v in (split, hyperparameters) if v not in (None, "{}")]
        name = f"{source} ({', '.join(of)})" if of else source
        found.append(_verdict(name, representation, values, n, dim))
    return found


def as_documents(found: Iterable[Verdict]) -> list[dict[str, Any]]:
    """The verdicts as dictionaries, for JSON."""

    def part(one: Part) -> dict[str, Any]:
        lists = {
            key: [each._asdict() for each in getattr(one, key)] for key in ("effects", "worst")
        }
        return one._asdict() | lists

    return [
        one._asdict()
        | {name: part(getattr(one, name)) for name in PARTS}
        | {"notes": list(one.notes)}
        for one in found
    ]


def _verdict(name: str, representation: str, values: dict[str, float], n: int, dim: int) -> Verdict:
    parts = (
        judge_coordinates(representation, values, n, dim),
        _directions(representation, values, n, dim),
        _norms(values, n),
    )
    by_title = dict(zip(PARTS, parts, strict=True))
    if "norm_cv" not in values:  # normalised rows have no norms to judge
        by_title.pop("norms")
    judged = [
        v for k, v in by_title.items() if k != "directions" or representation not in NO_DIRECTIONS
    ]
    sentence = f"At n = {n:,} rows of d = {dim}, {_listed(_clauses(judged))}."
    notes = tuple(_notes(representation, values, n, dim))
    texts = [f"{title.capitalize()}: {part.text}" for title, part in by_title.items()]
    return Verdict(
        name,
        representation,
        min((part.answer for part in judged), key=_BY_WEIGHT.index),
        sentence,
        "\n".join([sentence, *notes, *texts]),
        *parts,
        notes,
    )


def _clauses(judged: list[Part]) -> list[str]:
    """The short answers, those that are undecided in one clause."""
    undecided = [part for part in judged if part.answer == UNDECIDED]
    clauses = [part.short for part in judged if part.answer != UNDECIDED]
    if undecided:
        of = [part.short.removeprefix(TOO_FEW) for part in undecided]
        joined = of[0] if len(of) == 1 else f"{', '.join(of[:-1])} and {of[-1]}"
        clauses.append(TOO_FEW + joined)
    return clauses


def _directions(representation: str, values: Mapping[str, float], n: int, dim: int) -> Part:
    rayleigh, bingham = (
        values.get(f"direction_{test}_p", math.nan) for test in ("rayleigh", "bingham")
    )
    if representation in NO_DIRECTIONS:
        return Part(UNTESTED, NO_DIRECTIONS[representation], "the directions were not tested")
    if math.isnan(rayleigh) or math.isnan(bingham):
        text = "They need at least two coordinates, and two rows that are not zero."
        return Part(UNTESTED, text, "the directions were not tested")
    m = max(n - round(values.get("zero_rows", 0.0)), 2)
    effects = _direction_effects(values, m, dim)
    resultant, ranks, largest, excess = effects
    reason = (
        f"{told(resultant)}, 0 if uniform (Rayleigh p {_p(rayleigh)}); {told(ranks)}, {dim} if "
        f"uniform (Bingham p {_p(bingham)}); the first principal axis has {largest.value:.1%} of the "
        f"variance, {1 / dim:.1%} if uniform; {told(excess)}"
    )
    power = (
        f"{m:,} rows detect a mean resultant length of {resultant.detectable:.2g} or an effective rank "
        f"of {dim - ranks.detectable:.3g} with 80% power"
    )
    # The estimate without bias is often 0, which reads as if it were known to be.
    length = f"{resultant.value:.2g}" if resultant.value > 0 else f"below {resultant.high:.2g}"
    described = f"mean resultant length {length}, effective rank {ranks.value:.3g} of {dim}"
    sees = resultant.detectable <= _CLOSE_RESULTANT and ranks.detectable <= (1 - _CLOSE_RANK) * dim
    if min(rayleigh, bingham) > 0.005 and not sees:
        text = "No deviation from uniform found, but so few rows show large ones only"
        short = f"{TOO_FEW}the directions are uniform"
        return Part(UNDECIDED, f"{text}: {power}; {reason}.", short, effects)
    if min(rayleigh, bingham) > 0.005:
        text = f"No deviation from uniform found: {reason}; {power}."
        short = f"the directions show no deviation from uniform ({described})"
        return Part(HOLDS, text, short, effects)
    if resultant.value < _CLOSE_RESULTANT and ranks.value > _CLOSE_RANK * dim:
        text = f"Close to uniform, but rejected: {reason}; {power}."
        short = f"the directions are close to uniform, but rejected ({described})"
        return Part(CLOSE, text, short, effects)
    short = f"the directions are not uniform ({described})"
    remedy = f" {_REMEDY}" if ranks.value <= _CLOSE_RANK * dim else ""
    return Part(FAILS, f"Not uniform: {reason}.{remedy}", short, effects)


def _direction_effects(values: Mapping[str, float], m: int, dim: int) -> tuple[Effect, ...]:
    cosine, cosine_reach = values["negative_cosine_mean"], Z95 * values["negative_cosine_mean_se"]
    rank = values["direction_effective_rank"]
    square, square_reach = 1.0 / rank, Z95 * values["square_cosine_mean_se"]
    axes = detectable_anisotropy(m, dim)
    return (
        Effect(
            "mean resultant length",
            math.sqrt(max(cosine, 0.0)),
            math.sqrt(max(cosine - cosine_reach, 0.0)),
            math.sqrt(max(cosine + cosine_reach, 0.0)),
            0.0,
            detectable_resultant(m, dim),
        ),
        Effect(
            "effective rank",
            rank,
            max(1.0 / (square + square_reach), 1.0),
            float(dim) if square - square_reach <= 1.0 / dim else 1.0 / (square - square_reach),
            float(dim),
            dim - dim / (1.0 + axes**2),
        ),
        Effect(
            "largest share of variance",
            values.get("largest_variance_share", math.nan),
            None,
            None,
            1.0 / dim,
            None,
        ),
        effect("excess uniformity potential", values, "uniformity_excess", None),
    )


def _norms(values: Mapping[str, float], n: int) -> Part:
    cv, expected = values.get("norm_cv", math.nan), values.get("norm_cv_expected", math.nan)
    if math.isnan(cv) or math.isnan(expected):
        return Part(UNTESTED, "This representation has none.", "the norms were not tested")
    error, null = values["norm_log_ratio_se"], values["norm_log_ratio_null_se"]
    least = expected * (math.exp((Z95 + _Z80) * null) - 1.0)
    spread = Z95 * values["norm_cv_se"]
    effect = Effect("norm CV", cv, max(cv - spread, 0.0), cv + spread, expected, least)
    reason = (
        f"{told(effect)}, where a Gaussian of this mean and covariance has {expected:.3g} "
        f"(1/√(2 PR) = {values['norm_cv_gaussian']:.3g})"
    )
    power = f"{n:,} rows detect a norm CV of {expected + least:.3g} with 80% power"
    described = f"CV {cv:.3g}, a Gaussian's {expected:.3g}"
    ratio, reach = cv / expected, _Z99 * error
    if cv < EQUAL_NORMS:
        answer, text, short = HOLDS, f"All equal: {reason}.", "the norms are all equal"
    elif abs(math.log(ratio)) <= reach and least > (_CLOSE_RATIO - 1.0) * expected:
        text = f"As a Gaussian's, but so few rows show large deviations only: {power}; {reason}."
        answer, short = UNDECIDED, f"{TOO_FEW}the norms are a Gaussian's"
    elif abs(math.log(ratio)) <= reach:
        text = f"They vary as a Gaussian's: {reason}; {power}."
        answer, short = HOLDS, f"the norms vary as a Gaussian's ({described})"
    elif ratio < 1.0:
        text = f"A thinner shell than a Gaussian's: {reason}."
        answer, short = HOLDS, f"the norms vary less than a Gaussian's ({described})"
    elif ratio <= _CLOSE_RATIO:
        text = f"Close to a Gaussian's, but found to vary more: {reason}; {power}."
        answer, short = CLOSE, f"the norms vary slightly more than a Gaussian's ({described})"
    else:
        text = f"No thin shell: {reason}, which is {ratio:.3g} times as much."
        answer, short = FAILS, f"the norms vary more than a Gaussian's ({described})"
    return Part(answer, text, short, (effect,))


def _notes(representation: str, values: Mapping[str, float], n: int, dim: int) -> Iterator[str]:
    if "sampled_from" in values:
        yield f"Drawn at random from {values['sampled_from']:,.0f} rows."
    if values.get("repeated_rows", 0.0) > 0:
        copies, distinct = round(values["repeated_rows"]), round(values["distinct_rows"])
        how = "each of these is tested once" if n <= distinct else "all are tested"
        yield (
            f"Rows repeat: of {copies + distinct:,}, {copies:,} are copies of the {distinct:,} that "
            f"differ; {how}."
        )
    for kind, name in _GRIDS.items():
        if f"quantised_{kind}" in values:
            yield (
                f"The values are quantised ({name}; the step is {values[f'quantised_{kind}']:.2g} "
                f"standard deviations) and were dithered by one step before the tests."
            )
    is_equal = values.get("norm_cv", math.inf) < EQUAL_NORMS
    if is_equal:
        yield (
            "All rows have the same norm, so normalised rows are the same; --representation spherical "
            "tests the coordinates against the law of uniform directions."
        )
    if representation == "normalized":
        yield QUOTE_RAW
    if representation == "principal":
        yield "Along principal axes the rows are centred, so that norms are distances from the mean."
    if dim > 1 and (is_equal or representation == "normalized"):
        yield (
            f"Uniform directions are not exactly Gaussian: in d = {dim} the average coordinate fails "
            f"from some {rounded(directions_fail_from(dim))} rows on."
        )


def _p(value: float) -> str:
    return "< 1e-16" if value < 1e-16 else f"= {value:.2g}"


def _listed(texts: list[str]) -> str:
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])}, and {texts[-1]}"
