"""Short runs that leave one ingredient of the training out.

``python tests/benchmarks/ablations.py configs/train-lesion2d.toml --out runs``. Five minutes of one core for each
variant at 700 steps. The table goes onto the model's card when ``volumetry train`` packs it.
"""

import argparse
import sys
from pathlib import Path

from volumetry.learn.ablation import ablate


def main() -> None:
    """Run all variants and print each as it ends."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("config", type=Path)
    options.add_argument("--out", type=Path, default=Path("runs"))
    options.add_argument("--data", type=Path)
    options.add_argument("--steps", type=int, default=700)
    given = options.parse_args()

    def show(name: str, figures: dict[str, float]) -> None:
        sys.stdout.write(f"{name}: {figures}\n")
        sys.stdout.flush()

    ablate(given.config, given.out, given.data, given.steps, show)


if __name__ == "__main__":
    main()
