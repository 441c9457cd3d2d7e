"""The measures of a scan, one row each. A new measure is one row here and the function that computes it.

result.json, its schema, results.csv, the report, the terminal, what a correction without the CT leaves out, the
trial's table of results, the SDTM export and the result dictionary are made from these rows.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from volumetry.measure import densitometry
from volumetry.measure.densitometry import Counted


@dataclass(frozen=True, slots=True)
class Measure:
    """One number of both lungs.

    Parameters
    ----------
    key
        Its place in result.json, and its column in results.csv.
    unit
        Of the value: mL, %, HU, g.
    label
        In the report and on the terminal.
    code
        At most 8 characters, unique: RETESTCD in SDTM, and the name in SAS.
    meaning
        One sentence for the schema and the result dictionary.
    sdtm
        RETEST, at most 40 characters; empty for what is not exported.
    of
        How it is computed; None for what `volumetry.domain.Volumes` holds.
    form
        How the report writes it; by default with one decimal and the unit.
    needs_hu
        Whether it is absent where a correction is measured without the CT.
    nullable
        Whether `of` gives None where the measure is not defined.
    none_found
        What the report writes for 0, where 0 means that nothing above a limit of detection was found.
    """

    key: str
    unit: str
    label: str
    code: str
    meaning: str
    sdtm: str = ""
    of: Callable[[Counted], float | None] | None = None
    form: str = ""
    needs_hu: bool = False
    nullable: bool = False
    none_found: str = ""

    def value(self, counted: Counted) -> float | None:
        """The measure of one scan as a plain number: numpy's own is written otherwise in a table."""
        found = self.of(counted) if self.of else None
        return None if found is None else float(found)

    def shown(self, value: float) -> str:
        """The value as the report writes it."""
        if value == 0 and self.none_found:
            return self.none_found
        return (self.form or f"{{:.1f}} {self.unit}").format(value)


MEASURES = (
    Measure("volumes_ml.lung", "mL", "Lung", "LUNGVOL", "Both lungs, including lesions.", "Lung Volume"),
    Measure("volumes_ml.aerated", "mL", "Aerated", "AERVOL", "Aerated lung: lung without lesion."),
    Measure(
        *("volumes_ml.lesion", "mL", "All disease", "LESVOL"),
        "Lesion: ground glass, consolidation and, under the HU rule, lesion of neither class.",
        "Lung Lesion Volume",
    ),
    Measure("volumes_ml.ground_glass", "mL", "Ground glass", "GGOVOL", "Ground glass.", "Ground Glass Volume"),
    Measure(
        *("volumes_ml.solid", "mL", "Solid", "SOLIDVOL"),
        "Consolidation; under the HU rule, the solid component.",
        "Solid Component Volume",
    ),
    Measure(
        *("volumes_ml.fluid", "mL", "Pleural fluid", "FLUIDVOL"),
        "Pleural fluid, neither lung nor lesion; absent if not searched for. Up to about 100 mL may be missed.",
        "Pleural Fluid Volume",
        none_found="none found (less than about 100 mL may be missed)",
    ),
    Measure(
        *("percent_of_lung.lesion", "%", "All disease", "LESPCT"),
        "Lesion as a percentage of the lung volume.",
        "Lesion Share of Lung Volume",
    ),
    Measure(
        *("percent_of_lung.ground_glass", "%", "Ground glass", "GGOPCT"),
        "Ground glass as a percentage of the lung volume.",
        "Ground Glass Share of Lung Volume",
    ),
    Measure(
        *("percent_of_lung.solid", "%", "Solid", "SOLIDPCT"),
        "Consolidation as a percentage of the lung volume.",
        "Solid Share of Lung Volume",
    ),
    Measure(
        *("mean_lung_hu", "HU", "Mean lung HU", "LUNGHU"),
        "Mean HU of both lungs, including lesions; null if there is no lung.",
        "Mean Lung Attenuation",
        of=densitometry.mean_lung_hu,
        form="{:.0f} HU",
        needs_hu=True,
        nullable=True,
    ),
    Measure(
        *("lesion_mass_g", "g", "Disease, mass", "LESMASS", "Lesion volume in mL + lesion_weight_hu_ml / 1000."),
        of=densitometry.lesion_mass_g,
        needs_hu=True,
    ),
    Measure(
        *("lesion_weight_hu_ml", "HU.mL", "Disease, sum of HU \u00d7 volume", "LESWGHT"),
        "Lesion weight: sum over the lesion of HU times voxel volume.",
        of=densitometry.lesion_weight_hu_ml,
        form="{:,.0f}",
        needs_hu=True,
    ),
)


def computed() -> tuple[Measure, ...]:
    """The measures with a function of their own; their keys stand at the top of result.json."""
    return tuple(measure for measure in MEASURES if measure.of is not None)


def shown(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Label and text of every measure with a function that a result has, for report and terminal."""
    return [
        (measure.label, measure.shown(document[measure.key]))
        for measure in computed()
        if document.get(measure.key) is not None
    ]


def fluid_shown(document: Mapping[str, Any]) -> str:
    """Label and text of the pleural fluid; empty where nobody looked for it."""
    fluid_ml = document.get("volumes_ml", {}).get("fluid")
    (fluid,) = (measure for measure in MEASURES if measure.key == "volumes_ml.fluid")
    return "" if fluid_ml is None else f"{fluid.label}: {fluid.shown(fluid_ml)}"


def hu_keys() -> tuple[str, ...]:
    """Keys of result.json that are made from HU; ``components_by_rule.hu`` is, too."""
    return ("hu_bins_ml", *(measure.key for measure in computed() if measure.needs_hu))
