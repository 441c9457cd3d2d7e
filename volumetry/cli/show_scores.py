"""What the terminal shows of a model or an installation that was tested."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

Document = Mapping[str, Any]


def scores(found: Document) -> None:
    """Pooled and per-case Dice."""
    table = Table("", "lung", "lesion", "ground glass", "solid", "lesion % found", "lesion % true")

    def row(name: str, part: Document) -> None:
        dice = part.get("dice", {})
        cells = [dice.get(key) for key in ("lung", "lesion", "ground_glass", "solid")]
        shares = [part.get("lesion_percent_predicted"), part.get("lesion_percent_true")]
        table.add_row(
            name,
            *("" if value is None else f"{value:.3f}" for value in cells),
            *("" if value is None else f"{value:.2f}" for value in shares),
        )

    for name, case in found["per_case"].items():
        row(name, case)
    row("pooled", found["pooled"])
    Console(highlight=False).print(table)


def scan_scores(found: Document) -> None:
    """What a model does on whole scans, and with lesions of known volume in them."""
    scans = Table("scan", "learned from", "lesion %", "false %", "AUC of area", "95 %", "lung error %")
    for row in found["scans"]:
        low_high = row.get("auc_of_lesion_area_ci")
        scans.add_row(
            row["name"],
            ", ".join(row["learned_from_as"] or ()) or ("no" if row["learned_from_as"] == [] else "unknown"),
            *(
                "" if row.get(key) is None else f"{row[key]:{form}}"
                for key, form in (
                    ("lesion_percent", ".2f"),
                    ("false_positive_percent", ".2f"),
                    ("auc_of_lesion_area", ".3f"),
                )
            ),
            f"{low_high[0]:.3f} to {low_high[1]:.3f}" if low_high else "",
            f"{row['lung_error_percent']:+.1f}" if "lung_error_percent" in row else "",
        )
    console = Console(highlight=False)
    console.print(scans)
    planted = Table("lesion put in", "HU", "true mL", "measured mL", "error %", "Dice", "right class %")
    for row in found["planted"]:
        if "error_percent" in row:
            planted.add_row(
                row["kind"].replace("_", " "),
                f"{row['level_hu']:.0f}" if "level_hu" in row else "",
                *(f"{row[key]:.1f}" for key in ("true_ml", "measured_ml")),
                f"{row['error_percent']:+.1f}",
                f"{row['dice']:.3f}",
                f"{row['right_class_percent']:.0f}",
            )
    if planted.row_count:
        console.print(planted)


def selftest(report: Document) -> None:
    """The bias table, and the verdict."""
    table = Table("phantom", "quantity", "truth", "found", "error %", "limit %", "")
    for line in report["checks"]:
        table.add_row(
            line["phantom"],
            line["quantity"],
            *(f"{line[key]:.3f}" for key in ("truth", "found", "error_percent", "limit_percent")),
            _verdict(line["passed"]),
        )
    console = Console(highlight=False)
    console.print(table)
    others = Table("check", "detail", "")
    for line in report["facts"]:
        others.add_row(line["check"], line["detail"], _verdict(line["passed"]))
    console.print(others)
    console.print(_verdict(report["passed"]))


def _verdict(passed: bool) -> Text:
    return Text("pass", style="green") if passed else Text("FAIL", style="bold red")
