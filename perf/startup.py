"""How long the command line takes to answer, against starting Python alone. Best of seven.

python perf/startup.py [RECIPE OUT]    the second form also times a second, idle run
"""

import subprocess
import sys
import time


def best_s(*words: str) -> float:
    """Seconds of the quickest of seven runs of a Python command line."""
    seconds = []
    for _ in range(7):
        started = time.perf_counter()
        subprocess.run([sys.executable, *words], check=True, capture_output=True)
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def main() -> None:
    """Prints seconds, and the ratio to Python's own start."""
    evalkit = ("-m", "evalkit.cli")
    commands = {"python alone": ("-c", "pass"), "evalkit --help": (*evalkit, "--help")}
    if sys.argv[1:]:
        recipe, out = sys.argv[1:]
        commands["a finished run"] = (*evalkit, "train-and-publish", recipe, "--out", out)
    found = {name: best_s(*words) for name, words in commands.items()}
    for name, seconds in found.items():
        print(f"{name:<16} {seconds:.2f} s   {seconds / found['python alone']:.1f}x")


if __name__ == "__main__":
    main()
