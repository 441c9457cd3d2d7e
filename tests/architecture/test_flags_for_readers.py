"""Every flag that can ask for a reader says what to look at, where, and how far the number may be off.

The messages are made by the program from damaged phantoms, drawn scenes and the examples in the docstrings of the
checks; each code that is a flag under either profile must be among them.
"""

import doctest
import importlib
import re
import shutil
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from damage import DAMAGES
from pydicom.dataset import Dataset
from scan_series import chest_hu, findings_of, series, write
from scenes import AXIAL, chest, scan_of
from traceability import codes_by_example

from volumetry.codes import CATALOGUE, Outcome
from volumetry.config import Config, load_config
from volumetry.domain import ChestContext, Doubt, Finding, ScanRefusedError, SeriesInfo, Side, Tissue, TissueMap
from volumetry.measure import measure
from volumetry.phantom import PhantomSpec, make_phantom, write_series
from volumetry.quality import charter_findings, lung_findings
from volumetry.quality.blood_pool import contrast_findings
from volumetry.quality.places import FoundTissue
from volumetry.quality.suspect_solid import Suspect
from volumetry.scan import read_scan

NUMBERING = "INCOMPLETE_INSTANCE_NUMBERS"
"""A note in the catalogue; the numbering makes it a flag where every other image is missing."""
READER = sorted(
    code
    for code, entry in CATALOGUE.items()
    if Outcome.FLAG in (entry.outcome, entry.trial_outcome) or code == NUMBERING
)
LOOK = re.compile(r"\blook\b", re.IGNORECASE)
PLACE = re.compile(r"(images?|slices?) \d+.*, [xyz] -?\d+\.\d( to -?\d+\.\d)? mm|every slice")
EFFECT = re.compile(
    r"Effect on the measurement: .*(\d %|\d mL|\d g |factor of \d|not quantified|none|do not change|every volume)"
    r"|\d\.\d\d points|\d % of the lung\b|percentages of both lungs together do not change|[Nn]ot quantified"
)


def fault_of(finding: Finding) -> list[str]:
    """What a finding does not say."""
    wanted = {"what to look at": LOOK, "where": PLACE, "how far the number may be off": EFFECT}
    said = {"what to look at": f"{finding.message}. {finding.hint}"}
    return [name for name, pattern in wanted.items() if not pattern.search(said.get(name, finding.message))]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Finding]]:
    """Findings by code."""
    config = load_config()
    found: dict[str, list[Finding]] = defaultdict(list)
    folder = tmp_path_factory.mktemp("flags")
    scenes = (_of_damages(folder, config), _of_headers(folder, config), _of_lungs(config), _of_examples())
    for finding in chain.from_iterable(scenes):
        found[finding.code].append(finding)
    return found


@pytest.mark.parametrize("code", READER)
def test_a_flag_says_what_to_look_at_where_and_how_much(code: str, made: dict[str, list[Finding]]) -> None:
    assert made[code], f"{code} can ask for a reader, and nothing here makes it"
    for finding in made[code]:
        assert fault_of(finding) == [], finding.message


@pytest.mark.parametrize(
    ("message", "missing"),
    [
        ("slices are 5.00 mm thick. Look at the domes (every slice)", "how far the number may be off"),
        ("it is lossy. Look for rings. Effect on the measurement: not quantified", "where"),
        ("it is lossy (image 3, z 1.0 mm). Effect on the measurement: at most 5 % of a lesion", "what to look at"),
    ],
)
def test_a_flag_that_leaves_one_out_is_found(message: str, missing: str) -> None:
    finding = Finding("THICK_SLICES", Outcome.FLAG, message, advice="Compare it with the protocol.")
    assert fault_of(finding) == [missing]


# --- makers --------------------------------------------------------------------------------------------------


def _of_damages(folder: Path, config: Config) -> Iterator[Finding]:
    """Every damage of the suite after which a number carries a flag; METAL needs a mask."""
    base = folder / "base"
    spec = PhantomSpec((64, 64, 64), (2.5, 0.9, 0.9), scale_lps=(0.13, 0.18, 0.6), vessels=False)
    write_series(make_phantom(spec), base)
    for name, damage in DAMAGES.items():
        if damage.outcome is Outcome.FLAG and damage.expect != "METAL":
            at = folder / name
            shutil.copytree(base, at)
            damage.apply(at, np.random.default_rng(5))
            yield from _asking(_findings(at, config) if damage.expect == "HU_DRIFT" else _by_headers(at, config))


def _by_headers(folder: Path, config: Config) -> Sequence[Finding]:
    return list(findings_of(folder, config).values())


def _findings(folder: Path, config: Config) -> Sequence[Finding]:
    try:
        return read_scan(folder, config).findings
    except ScanRefusedError as stop:
        return stop.findings


def _asking(findings: Sequence[Finding]) -> Iterator[Finding]:
    return (f for f in findings if f.code in READER)


def _of_examples() -> Iterator[Finding]:
    """Findings that an example in a docstring leaves in a variable; pytest judges the examples themselves."""
    for name in (name for name, codes in codes_by_example().items() if codes & set(READER)):
        path, _, function = name.partition("::")
        module = importlib.import_module(path.removesuffix(".py").replace("/", "."))
        (example,) = doctest.DocTestFinder(recurse=False).find(getattr(module, function), globs=vars(module))
        doctest.DocTestRunner().run(example, clear_globs=False)
        yield from _asking([value for value in example.globs.values() if isinstance(value, Finding)])


def _of_headers(folder: Path, config: Config) -> Iterator[Finding]:
    """What no damage of the suite is, and other wordings of what is."""

    def found(name: str, **values: object) -> Iterator[Finding]:
        def edit(ds: Dataset, k: int) -> None:
            for keyword, value in values.items():
                setattr(ds, keyword, value(k) if callable(value) else value)

        yield from _asking(_by_headers(write(folder / name, series(), edit), config))

    x_y = [-22.0, -21.0]
    yield from found("scout", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    yield from found("positions", PatientPosition=lambda k: "HFS" if k < 40 else "FFS")
    yield from found("prone", PatientPosition="HFP")
    yield from found("field", ReconstructionDiameter=90.0)
    yield from found("pixels", PixelSpacing=[0.2, 0.2])
    yield from found("every_other", InstanceNumber=lambda k: 2 * k + 1)
    yield from found("announced", ImagesInAcquisition=80)
    yield from found("tag", SpacingBetweenSlices=5.0)
    yield from found("in_plane", ImagePositionPatient=lambda k: [x_y[0] + 0.2 * (k == 9), x_y[1], -80 + 2.5 * k])
    yield from found("jitter", ImagePositionPatient=lambda k: [*x_y, -80 + 2.5 * k + 0.2 * (k == 9)])
    yield from found("lossy_tag", LossyImageCompression=lambda k: "01" if k > 30 else "00")
    yield from _asking(_findings(write(folder / "seam", series(_seamed())), config))


def _seamed() -> np.ndarray:
    """From the middle on another body: moved by a fifth of the field."""
    hu = chest_hu()
    hu[31:] = np.roll(hu[31:], 10, axis=2)
    return hu


def _of_lungs(config: Config) -> Iterator[Finding]:
    """From the mask: cut off at either end and at the side, small, one-sided, swapped, and what lies beside it."""
    hu, truth = chest()
    labels = truth.labels_kji
    pole = int(np.flatnonzero(labels.any(axis=(1, 2)))[0])
    yield from _judged(hu[pole + 1 :], labels[pole + 1 :], config)
    top = int(np.flatnonzero(labels.any(axis=(1, 2)))[-1])
    yield from _judged(hu[:top], labels[:top], config)
    yield from _judged(hu[:, :, 8:], labels[:, :, 8:], config)
    small, less = chest(radius_mm=35.0)
    yield from _judged(small, less.labels_kji, config)
    yield from _judged(hu, labels, config, swapped=True)
    yield from _judged(
        hu, np.where(np.arange(64) < 32, labels, labels * (np.arange(40) < 17)[:, None, None]), config
    )
    yield from _judged(hu, labels, config, dropped={"lesion_beside_lungs_ml": 120.0})
    yield from _judged(hu, labels, config, context=ChestContext(0.99, 120.0, 60.0))
    yield from _judged(hu, labels, config, context=ChestContext(0.2, 120.0, 0.0))
    for name in ("aerated_hu", "lesion_percent"):  # of which no scan has so little
        yield from _judged(hu, labels, config, doubt=Doubt({}, {}, 0.0, {}, 0.95, {name: (-2000.0, -1000.0)}))
    fluid = np.zeros(hu.shape, bool)
    fluid[15:25, 46:50, 10:22] = True
    yield from _judged(hu, labels, config, fluid=fluid)
    metal = hu.copy()
    metal[18:22, 30:34, 31:33] = 3071
    yield from _judged(metal, labels, config)
    yield from _of_charter()
    yield from _of_doubtful_bodies(hu, labels, config)


def _judged(
    hu: np.ndarray,
    labels: np.ndarray,
    config: Config,
    *,
    swapped: bool = False,
    dropped: dict[str, float] | None = None,
    context: ChestContext | None = None,
    fluid: np.ndarray | None = None,
    doubt: Doubt | None = None,
) -> Iterator[Finding]:
    grid = replace(AXIAL, shape_kji=labels.shape)
    left = np.arange(labels.shape[2]) >= labels.shape[2] // 2
    side = np.where(labels > 0, np.where(left ^ swapped, Side.LEFT, Side.RIGHT), 0).astype(np.uint8)
    tissue = TissueMap(labels.astype(np.uint8), grid, side, dropped or {}, context=context, fluid_kji=fluid)
    scan = scan_of(hu, grid)
    measurement = measure(tissue, scan, config.measure)
    return _asking(lung_findings(replace(tissue, doubt=doubt), scan, measurement, config))


def _of_charter() -> Iterator[Finding]:
    rules = {
        "thickness_mm": [0.5, 1.5],
        "spacing_mm": [0.5, 1.5],
        "kernels": ["B30f"],
        "kvp": [120, 120],
        "scanners": ["Other*"],
        "contrast": "with",
        "min_coverage_mm": 300.0,
        "min_slices": 200,
    }
    config = load_config(overrides={"charter": rules})
    far = SeriesInfo("1.2.3", 40, (5.0, 0.7, 0.7), thickness_mm=5.0, kernel="B70f", kvp=80.0, manufacturer="Tests")
    yield from charter_findings(far, config)
    yield from contrast_findings(far, 40.0, config)
    without = load_config(overrides={"charter": {"contrast": "without"}})
    yield from charter_findings(replace(far, contrast=True), without)
    yield from contrast_findings(far, 200.0, without)


def _of_doubtful_bodies(hu: np.ndarray, labels: np.ndarray, config: Config) -> Iterator[Finding]:
    """Those that look for bodies of tissue, with the bodies given: how they are found is tested elsewhere."""
    from volumetry.quality import missed_consolidation as dense_tissue
    from volumetry.quality import suspect_solid, unlabelled_haze

    lesion = labels.copy()
    lesion[20:24][lesion[20:24] > 0] = Tissue.SOLID
    scan, tissue = scan_of(hu), TissueMap(lesion, AXIAL)
    body = FoundTissue(80.0, "left", "lower", 20.0, (10, 14))
    suspect = Suspect({"slab": 60.0}, "right", "lower", (10, 11))
    haze = FoundTissue(90.0, "left", "lower", -720.0, (10, 14))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dense_tissue, "tissue_outside_lungs", lambda *_: [body])
        patch.setattr(unlabelled_haze, "unlabelled_haze", lambda *_: [haze])
        patch.setattr(suspect_solid, "suspect_solid", lambda *_: [suspect])
        yield from dense_tissue.dense_tissue_findings(tissue, scan, config)
        volumes = measure(replace(tissue, side_kji=_sides(lesion)), scan, config.measure).volumes_ml
        yield from suspect_solid.suspect_findings(tissue, scan, volumes, None, config)
        yield from unlabelled_haze.haze_findings(tissue, scan, volumes, config)


def _sides(labels: np.ndarray) -> np.ndarray:
    left = np.arange(labels.shape[2]) >= labels.shape[2] // 2
    return np.where(labels > 0, np.where(left, Side.LEFT, Side.RIGHT), 0).astype(np.uint8)
