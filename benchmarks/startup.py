"""CPU time and memory of whole commands: `python benchmarks/startup.py [runs]`.

Run it with the Python of an environment that memcalc is installed in; the first row is the floor.
"""

from __future__ import annotations

import os
import subprocess
import sys
from statistics import median

JOB = ["fit", "llama-3.1-70b", "--chip", "h100-sxm", "--chips", "8", "-b", "32", "-c", "32k"]
MAIN = "import sys; from memcalc.cli import main; sys.argv[0] = 'memcalc'; main()"
COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "import typer": ["-c", "import typer"],
    "memcalc --version": ["-c", MAIN, "--version"],
    "memcalc fit --json": ["-c", MAIN, *JOB, "--json"],
    "memcalc fit (table)": ["-c", MAIN, *JOB],
    "memcalc compare --json": [
        "-c", MAIN, "compare", "llama-3.1-70b", "--chip", "h100-sxm,b200,groq-lpu-v1,wse-3", "-w", "fp8", "--json",
    ],
}  # fmt: skip


def run(arguments: list[str]) -> tuple[float, float]:
    """CPU milliseconds and peak MiB of one run."""
    # Bytecode is kept, as for a user: without it each run would compile anew.
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    child = subprocess.Popen(
        [sys.executable, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment,
    )
    _, _, usage = os.wait4(child.pid, 0)
    child.returncode = 0
    return (usage.ru_utime + usage.ru_stime) * 1e3, usage.ru_maxrss / 1024


def main() -> None:
    """Print the median and the least of several runs of each command, taken in turn."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 21
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in COMMANDS}
    for turn in range(runs + 1):
        for name, arguments in COMMANDS.items():
            result = run(arguments)
            if turn:  # the first run warms the caches
                found[name].append(result)
    print(f"{'CPU ms, ' + str(runs) + ' runs':26}{'median':>8}{'least':>8}{'peak MiB':>10}")
    for name, results in found.items():
        times = [milliseconds for milliseconds, _ in results]
        print(f"{name:26}{median(times):8.1f}{min(times):8.1f}{max(peak for _, peak in results):10.1f}")


if __name__ == "__main__":
    main()
