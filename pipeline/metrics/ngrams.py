"""BLEU and chrF as functions of sums over sentences, equal to those of sacrebleu.

Shapes: N sentences. `...` is any number of leading dimensions, such as resamples.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

WORDS, CHARACTERS = 4, 6
"""Words of the longest n-gram of BLEU, and characters of that of chrF."""
BETA = 2
"""How many times as important as precision recall is in chrF."""


def bleu_counts(predictions: Sequence[str], references: Sequence[str]) -> np.ndarray:
    """(N, 2 + 2 * WORDS) words of the translation and of the reference, matching n-grams, and n-grams of the
    translation, each for n = 1, 2, ..."""
    from sacrebleu.metrics import BLEU  # takes a while, and the other functions need only numbers

    metric = BLEU(force=True)  # never warns that texts look tokenized
    rows = []
    for prediction, reference in zip(predictions, references, strict=True):
        found = metric.corpus_score([prediction], [[reference]])
        rows.append([found.sys_len, found.ref_len, *found.counts, *found.totals])
    return np.array(rows, dtype=np.float64).reshape(-1, 2 + 2 * WORDS)


def bleu(sums: np.ndarray) -> np.ndarray:
    """BLEU (...) of sums of `bleu_counts`, (..., 2 + 2 * WORDS): the geometric mean of the precisions, times the
    penalty for translations that are too short (Papineni et al. 2002, section 2.3).

    The k-th precision that is 0 counts as 1 / (2^k n-grams), as in mteval-v13a.
    """
    length, true = sums[..., 0], sums[..., 1]
    hits, total = sums[..., 2 : 2 + WORDS], sums[..., 2 + WORDS :]
    misses = np.cumsum(hits == 0, axis=-1)
    smoothed = np.where(hits > 0, hits, 0.5**misses)
    with np.errstate(divide="ignore", invalid="ignore"):
        exponent = np.log(smoothed / total).mean(axis=-1) + np.minimum(0.0, 1 - true / length)  # nan without words
    is_scored = (total > 0).all(axis=-1) & (hits > 0).any(axis=-1)
    return np.where(is_scored, 100 * np.exp(np.where(is_scored, exponent, 0.0)), 0.0)


def chrf_counts(predictions: Sequence[str], references: Sequence[str]) -> np.ndarray:
    """(N, 3 * CHARACTERS) n-grams of the translation, of the reference, and of both, each for n = 1, 2, ...; blanks are
    left out. A reference too short to have any n-gram is one that no n-gram can hit, so none is counted."""
    rows = np.zeros((len(references), 3, CHARACTERS))
    for row, texts in enumerate(zip(predictions, references, strict=True)):
        for n in range(CHARACTERS):
            found, true = (_ngrams("".join(text.split()), n + 1) for text in texts)
            rows[row, :, n] = found.total() if true else 0, true.total(), (found & true).total()
    return rows.reshape(len(references), -1)


def _ngrams(text: str, n: int) -> Counter[str]:
    return Counter(text[start : start + n] for start in range(len(text) - n + 1))


def chrf(sums: np.ndarray) -> np.ndarray:
    """chrF (...) of sums of `chrf_counts`, (..., 3 * CHARACTERS): F of the mean precision and the mean recall over n
    (Popovic 2015)."""
    found, true, hits = np.moveaxis(sums.reshape(*sums.shape[:-1], 3, CHARACTERS), -2, 0)
    counted = (found > 0) & (true > 0)
    orders = np.maximum(counted.sum(axis=-1), 1)
    precision, recall = (
        np.divide(hits, whole, out=np.zeros_like(hits), where=counted).sum(axis=-1) / orders for whole in (found, true)
    )
    weighted = BETA**2 * precision + recall
    product = (1 + BETA**2) * precision * recall
    return 100 * np.divide(product, weighted, out=np.zeros_like(product), where=weighted > 0)
