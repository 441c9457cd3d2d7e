"""The numbers of each side and lobe for the report, with standard codes of site and laterality."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import highdicom as hd
from pydicom import Dataset
from pydicom.sr.coding import Code

from volumetry.deliver.dicom import concepts
from volumetry.deliver.dicom.concepts import coded
from volumetry.deliver.dicom.numbers import Number, measurement, millilitres, share
from volumetry.deliver.dicom.uids import tracking_uid

_RIGHT, _LEFT = Code("24028007", "SCT", "Right"), Code("7771000", "SCT", "Left")
_UPPER = Code("45653009", "SCT", "Upper lobe of lung")
_MIDDLE = Code("72481006", "SCT", "Middle lobe of right lung")
_LOWER = Code("90572001", "SCT", "Lower lobe of lung")


@dataclass(frozen=True, slots=True)
class Region:
    """A side or a lobe: where it stands in result.json, and its codes."""

    group: str
    key: str
    site: Code
    laterality: Code

    @property
    def label(self) -> str:
        """For people and as tracking identifier."""
        words = "lung" if self.group == "sides" else f"{self.key.partition('_')[2]} lobe"
        return f"{self.laterality.meaning} {words}"


_REGIONS = (
    Region("sides", "right", concepts.LUNG, _RIGHT),
    Region("sides", "left", concepts.LUNG, _LEFT),
    Region("lobes", "right_upper", _UPPER, _RIGHT),
    Region("lobes", "right_middle", _MIDDLE, _RIGHT),
    Region("lobes", "right_lower", _LOWER, _RIGHT),
    Region("lobes", "left_upper", _UPPER, _LEFT),
    Region("lobes", "left_lower", _LOWER, _LEFT),
)


def sides_hold(document: Mapping[str, Any]) -> bool:
    """Whether left and right are where the header says, so that numbers of sides and lobes can be stated."""
    return all(flag["code"] != "SIDE_CONFLICT" for flag in document["flags"])


def regions_of(document: Mapping[str, Any]) -> Iterator[tuple[Region, tuple[Number, ...]]]:
    """Sides and lobes that the result has, with what the report says of each.

    Where left and right may be exchanged there are none: a number under the wrong side is worse than none.

    Parameters
    ----------
    document
        result.json.

    Yields
    ------
    Region, numbers
        Concept, value and unit of each number.
    """
    if not sides_hold(document):
        return
    for region in _REGIONS:
        ml = (document.get(region.group) or {}).get(region.key)
        if ml and ml["lung"] > 0:
            yield (
                region,
                (
                    (concepts.VOLUME, millilitres(ml["lung"]), concepts.ML),
                    (concepts.LESION_ML, millilitres(ml["lesion"]), concepts.ML),
                    (concepts.REGION_PERCENT, share(100 * ml["lesion"] / ml["lung"]), concepts.PERCENT),
                ),
            )


def region_groups(
    headers: Sequence[Dataset], document: Mapping[str, Any], algorithm: hd.sr.AlgorithmIdentification
) -> list[hd.sr.MeasurementsAndQualitativeEvaluations]:
    """A measurement group for each side and lobe; they have no segment of their own.

    Parameters
    ----------
    headers
        Of the source.
    document
        result.json.
    algorithm
        What measured.
    """
    return [
        hd.sr.MeasurementsAndQualitativeEvaluations(
            tracking_identifier=hd.sr.TrackingIdentifier(
                uid=tracking_uid(headers[0], region.label), identifier=region.label
            ),
            finding_type=coded(concepts.LUNG),
            finding_category=coded(concepts.ANATOMY),
            finding_sites=[hd.sr.FindingSite(coded(region.site), coded(region.laterality))],
            algorithm_id=algorithm,
            measurements=[measurement(number) for number in numbers],
        )
        for region, numbers in regions_of(document)
    ]
