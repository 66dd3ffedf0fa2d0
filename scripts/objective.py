"""What the learner maximises against what is reported: do discounted return and throughput order policies alike?

Usage: ./rlt exec python scripts/objective.py FILE...

Each file holds, as its last line, what `rlt eval --json` or `rlt train --json` printed; every evaluation in it with
at least two successes is one policy. Spearman's rank correlation of successes per 10 minutes with the mean of
`discount^ticks` (a failure gives 0), for several discounts, and with the rate of success.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

DISCOUNTS = (0.98, 0.99, 0.995, 0.998, 0.999)


def evaluations(told: Any) -> Iterator[dict[str, Any]]:
    """Every evaluation, however deep it lies."""
    if isinstance(told, dict):
        if "throughput" in told and "ticks" in told:
            yield told
        else:
            for inner in told.values():
                yield from evaluations(inner)
    elif isinstance(told, list):
        for inner in told:
            yield from evaluations(inner)


def discounted(ticks: list[int | None], discount: float) -> float:
    """Mean discounted return of episodes that end in a reward of 1, or in none."""
    return float(np.mean([0.0 if n is None else discount**n for n in ticks]))


def spearman(a: list[float], b: list[float]) -> float:
    """Rank correlation."""
    ranks = [np.unique(values, return_inverse=True)[1] for values in (a, b)]
    return float(np.corrcoef(*ranks)[0, 1])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    told = [json.loads(path.read_text().splitlines()[-1]) for path in parser.parse_args().files]
    # A training's last evaluation is told twice: as `final`, and as the end of its `curve`.
    distinct = {tuple(made["ticks"]): made for made in evaluations(told)}
    policies = [made for made in distinct.values() if sum(n is not None for n in made["ticks"]) > 1]
    throughput = [made["throughput"] for made in policies]
    print(f"{len(policies)} policies, {min(throughput):.0f} to {max(throughput):.0f} per 10 min\n")
    print("| orders by | rank correlation with throughput |\n|---|---|")
    for discount in DISCOUNTS:
        returns = [discounted(made["ticks"], discount) for made in policies]
        print(f"| discount {discount} a tick | {spearman(throughput, returns):.3f} |")
    print(f"| success | {spearman(throughput, [made['success'] for made in policies]):.3f} |")


if __name__ == "__main__":
    main()
