"""Evaluations a second on one core, the layout given: `python benchmarks/estimator.py`.

One evaluation places all bytes of a job and times its decode step, at a context that changes each time.
"""

from __future__ import annotations

import time

from memcalc.api import request
from memcalc.core.search import choose

JOBS = {
    "dense, one tier": {"model": "llama-3.1-70b", "chip": "h100-sxm", "chips": 8, "batch": 32},
    "windows, one tier": {"model": "gemma-3-27b", "chip": "h100-sxm", "batch": 8},
    "experts and MLA, one tier": {"model": "deepseek-v3", "chip": "h200-sxm", "chips": 8, "batch": 32},
    "dense, spatial": {"model": "llama-3.1-70b", "chip": "groq-lpu-v1", "chips": 576, "weights": "int8"},
    "dense, two tiers": {"model": "llama-3.1-70b", "chip": "matx-one", "chips": 128, "weights": "fp8"},
}
EVALUATIONS = 20_000


def main() -> None:
    """Print evaluations a second for each kind of job, the best of three."""
    for name, words in JOBS.items():
        asked = request(**words)
        choice = choose(asked)
        if choice is None:
            raise SystemExit(f"{name}: does not fit")
        job, batch = choice.job, asked.workload.batch
        best = 0.0
        for _ in range(3):
            start = time.process_time()
            for more in range(EVALUATIONS):
                context = 4096 + more % 1024
                job.decode(batch, context, job.place(batch, context))
            best = max(best, EVALUATIONS / (time.process_time() - start))
        print(f"{name:28}{best:10,.0f} a second")


if __name__ == "__main__":
    main()
