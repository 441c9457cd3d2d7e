"""Pleural fluid: what is called so, and that every file and every reader of the mask keeps it beside the lung."""

import hashlib
import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pydicom
import pytest
import torch
from delivered import deliver
from scenes import AXIAL, ball, chest, scan_of
from scipy import ndimage
from small_results import TruthSegmenter, measured_phantom
from stub_model import AllDiseased, DarkIsLung, dark_is_lung, stub

from volumetry.batch.replay import _differing_voxels
from volumetry.config import load_config
from volumetry.deliver import as_document, row_of
from volumetry.deliver.dicom import DicomOptions, write_seg_and_sr
from volumetry.domain import FLUID, CtScan, Grid, SeriesInfo, Tissue, TissueMap
from volumetry.image.nifti import mask_bytes, read_nifti
from volumetry.measure import measure
from volumetry.pipeline import analyse_scan, mask_digest
from volumetry.quality import lung_findings
from volumetry.remeasure import correction, remeasure
from volumetry.remeasure.edited import read_edited_mask
from volumetry.segment import network as network_module
from volumetry.segment import organs
from volumetry.segment.fluid import _medians, pleural_fluid
from volumetry.segment.network import NetworkSegmenter
from volumetry.segment.postprocess import tidy
from volumetry.segment.thorax import Region
from volumetry.web.cases import load_case

BOX = np.s_[5:15, 10:30, 10:26]
"""10 x 20 x 16 voxels."""
BEHIND = np.s_[15:25, 46:50, 10:22]
"""In the body of the drawn chest behind its lungs, on the patient's right: 480 voxels of 0.125 mL."""


@pytest.mark.parametrize(("level_hu", "is_fluid"), [(15, True), (33, True), (70, False), (-100, False)])
def test_a_body_is_fluid_if_its_density_is(level_hu: float, is_fluid: bool) -> None:
    """Beside lung, and in noise of 30 HU: a median of 27 has a standard deviation of some 7 HU."""
    hu = np.full((20, 40, 40), -850, np.float32)
    sure = np.zeros(hu.shape, bool)
    sure[BOX], hu[BOX] = True, level_hu
    hu += np.random.default_rng(3).normal(0, 30, hu.shape).astype(np.float32)
    found = pleural_fluid(sure, sure, hu, 0.01)
    assert not (found & ~sure).any()
    assert found.sum() / sure.sum() == pytest.approx(1.0 if is_fluid else 0.0, abs=0.1)


def test_a_body_of_less_than_ten_millilitres_is_no_finding() -> None:
    hu, sure = np.full((20, 40, 40), 10, np.float32), np.zeros((20, 40, 40), bool)
    sure[BOX] = True  # 3200 voxels
    assert not pleural_fluid(sure, sure, hu, 9.9 / 3200).any()
    assert np.array_equal(pleural_fluid(sure, sure, hu, 10.1 / 3200), sure)


def test_a_body_that_reaches_no_lung_is_a_muscle() -> None:
    hu, sure = np.full((20, 40, 40), 10, np.float32), np.zeros((20, 40, 40), bool)
    sure[BOX] = True
    nearby = np.zeros_like(sure)
    assert not pleural_fluid(sure, nearby, hu, 0.01).any()
    nearby[5, 10, 10] = True
    assert np.array_equal(pleural_fluid(sure, nearby, hu, 0.01), sure)


class TheRestIsFluid(DarkIsLung):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = super().forward(x)
        logits[:, [Region.BODY, Region.FLUID]] = logits[:, [Region.FLUID, Region.BODY]]
        return logits


@pytest.mark.parametrize(("level_hu", "wanted", "share"), [(10, 0.9, 1.0), (100, 0.9, 0.0), (10, 0.99, None)])
def test_fluid_is_neither_lung_nor_lesion_where_the_network_of_the_chest_is_heard(
    monkeypatch: pytest.MonkeyPatch, level_hu: float, wanted: float, share: float | None
) -> None:
    """The slices' network calls all of a block disease; outside the air in its middle, the chest's sees fluid."""
    for name in ("verify_probe", "verify_context_probe"):
        monkeypatch.setattr(network_module, name, lambda model, device: 0.0)
    whole = organs.chest_of
    monkeypatch.setattr(
        network_module,
        "chest_of",
        lambda *given: replace(whole(*given), context=replace(whole(*given).context, agreement=0.95)),
    )
    grid = Grid((20, 60, 80), (5.0, 2.8, 2.8))
    hu = np.full(grid.shape_kji, level_hu, np.float32)
    hu[:, :, 20:60] = -1000
    settings = load_config(
        overrides={"segment": {"device": "cpu", "precision": "fp32", "context_agreement": wanted}}
    ).segment
    model = replace(stub(AllDiseased()), context=replace(dark_is_lung(), network=TheRestIsFluid(-500.0)))
    found = NetworkSegmenter(model, settings)(
        CtScan(hu, grid, SeriesInfo("1.2", grid.shape_kji[0], grid.spacing_kji_mm))
    )
    if share is None:
        assert found.fluid_kji is None
        assert "lesion_in_fluid_ml" not in found.dropped_ml
        return
    column_ml = 20 * 60 * grid.voxel_ml
    border_ml = 2 * 1.01 * column_ml  # half a voxel of 5 mm on either side
    assert found.fluid_ml == pytest.approx(share * 40 * column_ml, abs=border_ml)
    assert found.dropped_ml.get("lesion_in_fluid_ml", 0.0) == pytest.approx(share * 40 * column_ml, abs=border_ml)
    assert (found.mask_kji == FLUID).sum() * grid.voxel_ml == found.fluid_ml


def test_planes_and_digest_are_those_of_the_delivered_mask() -> None:
    _, truth = chest()
    fluid = np.zeros(truth.labels_kji.shape, bool)
    fluid[3:5] = truth.labels_kji[3:5] == Tissue.OUTSIDE
    delivered = replace(truth, fluid_kji=fluid)
    wanted = np.where(fluid, np.uint8(FLUID), truth.labels_kji)
    assert np.array_equal(np.stack(list(delivered.mask_planes())), wanted)
    assert mask_digest(delivered) == hashlib.sha256(wanted.tobytes()).hexdigest()
    assert mask_digest(truth) == hashlib.sha256(truth.labels_kji.tobytes()).hexdigest()


def test_fluid_lies_in_no_lung() -> None:
    _, truth = chest()
    with pytest.raises(ValueError, match="fluid lies in the lung"):
        replace(truth, fluid_kji=truth.labels_kji > 0)
    with pytest.raises(ValueError, match="is not bool"):
        replace(truth, fluid_kji=np.zeros((2, 2, 2), bool))


def test_fluid_in_a_fissure_is_no_hole_and_lung_goes_before_fluid(config) -> None:
    """A pocket that lung encloses, 10 of 50 mm in radius of which tidying fills."""
    hu, truth = chest()
    pocket = ball(AXIAL, (20, 32, 18), 12.0)
    labels = np.where(pocket, np.uint8(Tissue.OUTSIDE), truth.labels_kji)
    kept = tidy(TissueMap(labels, AXIAL, fluid_kji=pocket), scan_of(hu), config.tidy)
    assert np.array_equal(kept.fluid_kji, pocket)
    assert not kept.labels_kji[pocket].any()
    nobody = tidy(TissueMap(labels, AXIAL), scan_of(hu), config.tidy)
    assert nobody.fluid_kji is None
    assert nobody.labels_kji[pocket].all()


def with_fluid(config):
    hu, truth = chest()
    hu[BEHIND] = 10
    fluid = np.zeros(AXIAL.shape_kji, bool)
    fluid[BEHIND] = True
    assert not truth.labels_kji[fluid].any()
    return tidy(replace(truth, fluid_kji=fluid), scan_of(hu), config.tidy), scan_of(hu)


def test_the_finding_says_how_much_where_and_what_if_it_is_none(config) -> None:
    tissue, scan = with_fluid(config)
    measurement = measure(tissue, scan, config.measure)
    (found,) = (f for f in lung_findings(tissue, scan, measurement, config) if f.code == "PLEURAL_FLUID")
    assert found.value == 60.0  # 480 x 0.125
    assert "60 mL of pleural fluid (right 60 mL, slices 15 to 24 of 40" in found.message
    assert f"{100 * 60 / (measurement.volumes_ml.lung + 60):.2f} points" in found.message
    none = replace(tissue, fluid_kji=np.zeros_like(tissue.fluid_kji))
    assert "PLEURAL_FLUID" not in {f.code for f in lung_findings(none, scan, measurement, config)}


class WithFluid(TruthSegmenter):
    """The phantom's tissues, and fluid in a box outside them."""

    def __call__(self, scan: CtScan, /) -> TissueMap:
        truth = super().__call__(scan)
        fluid = np.zeros(truth.grid.shape_kji, bool)
        fluid[20:30, 60:70, 20:60] = True
        return replace(truth, fluid_kji=fluid & (truth.labels_kji == 0))


@pytest.fixture(scope="module")
def case(tmp_path_factory, config):
    drawn = measured_phantom(tmp_path_factory.mktemp("series"), config)
    analysis = analyse_scan(drawn.folder, WithFluid(drawn.spec), config, "S1")
    out = tmp_path_factory.mktemp("result")
    deliver(analysis.result, analysis.tissue, config, out)
    return drawn, analysis, out


def test_the_result_equals_the_mask_and_the_lung_is_as_without_fluid(case) -> None:
    drawn, analysis, out = case
    document = json.loads((out / "result.json").read_text("utf-8"))
    mask, _ = read_nifti(out / "mask.nii.gz")
    assert (mask == FLUID).sum() > 500
    assert document["volumes_ml"].pop("fluid") == pytest.approx((mask == FLUID).sum() * 5 * 4.2**2 / 1000)
    assert document["volumes_ml"] == drawn.document["volumes_ml"]  # without: nobody looked
    assert row_of(drawn.document)["volumes_ml.fluid"] == ""
    assert float(row_of(as_document(analysis.result))["volumes_ml.fluid"]) == analysis.tissue.fluid_ml


def test_a_replay_compares_fluid_too(case) -> None:
    _, analysis, out = case
    tissue, mask = analysis.tissue, out / "mask.nii.gz"
    assert _differing_voxels(mask, tissue) == 0
    count = int(tissue.fluid_kji.sum())
    assert _differing_voxels(mask, replace(tissue, fluid_kji=None)) == count


def test_the_viewer_shows_fluid_and_its_box_of_the_lungs_leaves_it_out(case, config) -> None:
    drawn, _, out = case
    shown = load_case(out, config).facts()
    (label,) = (one for one in shown["labels"] if one["value"] == FLUID)
    assert (label["name"], label["present"]) == ("Pleural fluid", True)
    lung_alone = TissueMap(drawn.analysis.tissue.labels_kji, drawn.analysis.tissue.grid)
    (out / "mask.nii.gz").rename(out / "kept")
    (out / "mask.nii.gz").write_bytes(mask_bytes(lung_alone))
    assert load_case(out, config).facts()["lung_box_ras_mm"] == shown["lung_box_ras_mm"]
    (out / "kept").replace(out / "mask.nii.gz")


@pytest.mark.parametrize("erased", [0.5, 1.0])
def test_what_a_reader_leaves_of_the_fluid_counts(case, tmp_path, monkeypatch, erased: float) -> None:
    _, analysis, out = case
    monkeypatch.setattr(correction, "report_page", lambda *_: b"<html></html>")
    image = nib.load(out / "mask.nii.gz")
    mask = np.asarray(image.dataobj).copy()
    at = np.argwhere(mask == FLUID)
    gone = at[: round(erased * len(at))]
    mask[tuple(gone.T)] = Tissue.OUTSIDE
    nib.save(nib.Nifti1Image(mask, image.affine), tmp_path / "edited.nii.gz")
    document, folder = remeasure(
        out, None, tmp_path / "edited.nii.gz", "R1", "no fluid", corrections=tmp_path / "c"
    )
    left = len(at) - len(gone)
    assert document["volumes_ml"]["fluid"] == pytest.approx(left * analysis.tissue.grid.voxel_ml)
    assert document["volumes_ml"]["lung"] == document["automatic"]["volumes_ml"]["lung"]
    assert document["changed_voxels"] == len(gone)
    assert ("CLASS_REMOVED" in {flag["code"] for flag in document["flags"]}) is (left == 0)
    assert (read_nifti(folder / "mask.nii.gz")[0] == FLUID).sum() == left


@pytest.mark.parametrize("kind", ["binary", "labelmap"])
def test_fluid_is_a_segment_of_its_own_and_comes_back_from_it(case, config, tmp_path, kind: str) -> None:
    drawn, analysis, _ = case
    document = as_document(analysis.result)
    files = write_seg_and_sr(document, analysis.tissue, drawn.folder, tmp_path, config, DicomOptions(kind))
    segment = pydicom.dcmread(files["seg.dcm"]).SegmentSequence[-1]
    code = segment.SegmentedPropertyTypeCodeSequence[0]
    assert (segment.SegmentLabel, code.CodeValue, code.CodingSchemeDesignator) == (
        *("Pleural effusion", "60046008", "SCT"),
    )
    back = read_edited_mask(files["seg.dcm"], analysis.tissue.grid)
    assert np.array_equal(back == FLUID, analysis.tissue.fluid_kji)
    assert pydicom.dcmread(files["sr.dcm"]).to_json().count('"60046008"') >= 1


def test_a_mask_in_which_nobody_looked_reads_as_before() -> None:
    _, truth = chest()
    assert TissueMap.of_mask(truth.labels_kji, AXIAL, looked=False).fluid_ml is None
    assert TissueMap.of_mask(truth.labels_kji, AXIAL, looked=True).fluid_ml == 0.0


def test_the_median_of_a_body_is_that_of_the_whole_volume():
    rng = np.random.default_rng(0)
    hu = rng.normal(0, 50, (9, 20, 24)).astype(np.float32)
    body = rng.random(hu.shape) < 0.1
    body[3], body[:, 0] = False, True  # a slice without any, and voxels at the border of the array
    np.testing.assert_array_equal(_medians(hu, body), ndimage.median_filter(hu, 3)[body])
