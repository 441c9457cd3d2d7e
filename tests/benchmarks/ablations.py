"""The trained network goes on without one ingredient after the other.

``python tests/benchmarks/ablations.py configs/train-lesion25d.toml --out runs``, after ``volumetry train`` with
the same arguments. About four minutes of one core for each variant. The table goes onto the model's card when
``volumetry train`` is run again, which then only packs.
"""

import argparse
import sys
from pathlib import Path

from volumetry.training.ablation import ablate


def main() -> None:
    """Run all variants and print each as it ends."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("config", type=Path)
    options.add_argument("--out", type=Path, default=Path("runs"))
    options.add_argument("--data", type=Path)
    options.add_argument("--steps", type=int, default=250)
    given = options.parse_args()

    def show(name: str, figures: dict[str, float]) -> None:
        sys.stdout.write(f"{name}: {figures}\n")
        sys.stdout.flush()

    ablate(given.config, given.out, given.data, given.steps, show)


if __name__ == "__main__":
    main()
