"""Verdicts on claims: whether each prediction holds, as far as the seeds can tell.

    numbers per seed -> difference with its 95 % interval -> Holm's correction over the claim's predictions -> verdict

A prediction holds where the difference has the stated sign and more than chance would give; it does not hold here where
it has the other sign and is as certain. Else nobody can tell. A claim holds where all its predictions hold.
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from claims.claim import Prediction
from verdicts.two_arms import LEVEL, correct_holm, t_paired, t_welch

HOLDS, DOES_NOT_HOLD, CANNOT_TELL = "holds", "does not hold here", "cannot tell"
Table = dict[str, dict[str, np.ndarray]]  # arm -> measure -> float [S]


@dataclass(frozen=True)
class Finding:
    """What became of a prediction.

    Attributes:
        prediction: what was predicted.
        effect, low, high: the mean of the arm less that of the other, or less the number, with its 95 % interval, for
            this prediction alone.
        p: of the two-sided t test, after Holm's correction; nan where no seed differs from another.
        is_paired: whether the same seed of all arms was measured on the same network. Where no seed differs from
            another, there is no chance in such a measurement; learning curves can agree by chance.
    """

    prediction: Prediction
    effect: float
    low: float
    high: float
    p: float
    is_paired: bool

    @property
    def verdict(self) -> str:
        """Holds, does not hold here, or cannot tell."""
        is_certain = self.p < LEVEL or (self.is_paired and math.isnan(self.p) and self.low == self.effect == self.high)
        if not is_certain or self.effect == 0:
            return CANNOT_TELL
        return HOLDS if (self.effect > 0) == (self.prediction.side == "above") else DOES_NOT_HOLD


def judge_predictions(predictions: tuple[Prediction, ...], table: Table, is_paired: bool) -> list[Finding]:
    """Return a finding for each prediction.

    Args:
        predictions: of one claim.
        table: what was measured.
        is_paired: whether the same seed of all arms was measured on the same network.
    """
    findings = []
    for one in predictions:
        values = table[one.of][one.measure]
        if isinstance(one.than, str):
            test = t_paired if is_paired else t_welch
            found = test(values, table[one.than][one.measure])
        else:
            found = t_paired(values, np.full(len(values), float(one.than)))
        findings.append(Finding(one, *found, is_paired))
    known = [index for index, finding in enumerate(findings) if not math.isnan(finding.p)]
    corrected = correct_holm([findings[index].p for index in known])
    for index, p in zip(known, corrected, strict=True):
        findings[index] = replace(findings[index], p=p)
    return findings


def judge_claim(findings: list[Finding]) -> str:
    """Return the verdict on a claim, given the findings on its predictions."""
    verdicts = {finding.verdict for finding in findings}
    if DOES_NOT_HOLD in verdicts:
        return DOES_NOT_HOLD
    return HOLDS if verdicts == {HOLDS} else CANNOT_TELL
