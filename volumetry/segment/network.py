"""The network as a segmenter: a scan in, the tissue of every voxel of its own grid out."""

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from volumetry.config import Config, IntervalSettings, Segment, load_config
from volumetry.domain import ChestContext, CtScan, Doubt, SegmenterFacts, Tissue, TissueMap
from volumetry.errors import ModelError
from volumetry.image.orientation import axial_view
from volumetry.memory import give_back_freed_memory
from volumetry.segment.between_slices import smooth_between_slices
from volumetry.segment.halves import reaching
from volumetry.segment.on_the_card import labelled_planes, shrunk
from volumetry.segment.organs import Chest, chest_of, leave_out, lung_space
from volumetry.segment.preprocess import (
    CHEST_KINDS,
    InputRecipe,
    Pictures,
    Volume,
    fitted_shape,
    neighbour_step,
    network_batch,
    pictures_of,
    ready_made,
    resize,
)
from volumetry.segment.resampling import (
    PlaneBox,
    body_box,
    box_reaching,
    native_planes,
    network_shape,
    shrink,
    voxels_mm,
)
from volumetry.segment.thorax_weights import verify_context_probe
from volumetry.segment.thresholds import SCANS, SLICES, Cuts, cuts_of, labelled
from volumetry.segment.uncertainty import (
    BASE,
    Counts,
    class_counts,
    spread_points,
    threshold_counts,
    undecided_voxels,
)
from volumetry.segment.weights import Model, channels_last, find_model, load_model, verify_probe

OUTPUTS = ("lung", "lesion", "solid")
Progress = Callable[[int, int], None]
BATCH_SLICES = {"cpu": 4, "cuda": 32}
"""Of ``auto``. On a CPU a layer for four slices stays in the caches: 16 took a third more CPU time."""
MOST_THREADS = 8
"""Each holds the intermediate pictures of a batch."""

_LOG = logging.getLogger(__name__)


class NetworkSegmenter:
    """A verified model with the settings under which it runs.

    Parameters
    ----------
    model
        Weights and card.
    settings
        Device, precision, batch size and the operating thresholds of the three probabilities.
    progress
        Called with slices done and slices in all, after each batch.
    interval
        By how much input and thresholds are moved to estimate the uncertainty; without it, the map states none.

    Raises
    ------
    ModelError
        If the device is not there, or the model does not reproduce its probe on it.
    """

    def __init__(
        self,
        model: Model,
        settings: Segment,
        progress: Progress | None = None,
        interval: IntervalSettings | None = None,
    ) -> None:
        if model.card.architecture.outputs != OUTPUTS:
            raise ModelError(f"{model.folder.name}: outputs {model.card.architecture.outputs} are not {OUTPUTS}")
        self.model = model
        self.settings = settings
        self.progress = progress
        self.interval = interval
        self.device = chosen_device(settings.device)
        self.precision = chosen_precision(settings.precision, self.device)
        if self.device == "cuda":
            _deterministic()
        wanted = settings.batch_slices
        self.batch_slices = BATCH_SLICES[self.device] if wanted == "auto" else wanted
        verify_probe(model, self.device)
        if model.context:
            verify_context_probe(model.context, self.device)
        self._kind = torch.bfloat16 if self.precision == "bf16" else torch.float32
        # A copy, whose weights are converted once: autocast would do so for every batch.
        self._network = channels_last(deepcopy(model.network), self.device).to(self._kind)
        fitted = model.card.lesion_probability, model.card.solid_probability
        self.cuts = {looked_at: cuts_of(settings, *fitted, looked_at) for looked_at in (SCANS, SLICES)}
        self._temperature = torch.tensor(model.card.temperature, device=self.device)[None, :, None, None]

    @property
    def facts(self) -> SegmenterFacts:
        """Name, weights, device, precision and where a lesion begins in a scan, for the record."""
        card = self.model.card
        cut = self.cuts[SCANS].lesion
        return SegmenterFacts(card.name, card.version, card.sha256, self.device, self.precision, cut)

    @property
    def recipe(self) -> InputRecipe:
        """How a scan becomes this model's input."""
        return self.model.card.recipe

    def __call__(self, scan: CtScan, /) -> TissueMap:
        """Label every voxel of `scan`; islands and holes are left to postprocessing.

        A voxel is outside unless its lung or its lesion probability reaches the threshold; a lesion is solid where
        the solid probability does, else ground glass. Voxels without data are outside.

        Parameters
        ----------
        scan
            In HU.

        Returns
        -------
        TissueMap
            Labels, uint8 (k, j, i), on ``scan.grid``; without sides.
        """
        labels_kji, doubt, chest = self._labelled(scan)  # what it needed is freed before the fluid is drawn
        heard = chest if chest and self._heard(chest.context) else None
        return TissueMap(
            labels_kji,
            scan.grid,
            dropped_ml=_left_out_ml(heard) if heard else {},
            doubt=doubt,
            context=chest.context if chest else None,
            fluid_kji=_fluid(heard, labels_kji, scan) if heard else None,
        )

    def _labelled(self, scan: CtScan) -> tuple[NDArray[np.uint8], Doubt | None, Chest | None]:
        """Labels on the scan's own grid, their doubt, and what the network of the chest says."""
        view = axial_view(scan.grid)
        labels_kji = np.zeros(scan.grid.shape_kji, np.uint8)
        axial, hu = view.of(labels_kji), view.of(scan.hu_kji)
        shape = network_shape(hu.shape, view.spacing_mm(scan.grid), self.recipe)
        coarse = shrink(hu, shape) if self.device == "cpu" else shrunk(hu, shape, self.device)
        body = body_box(coarse, self.recipe.pad_multiple)
        spacing = voxels_mm(hu.shape, view.spacing_mm(scan.grid), shape)
        with _one_core_each() as threads:  # the slices see its answer: the same on any number of cores
            space = threads.submit(lung_space, coarse, spacing, self.model.context).result()
        seen = Volume(coarse, neighbour_step(spacing[0], self.recipe), space.pictures if space else {})
        probabilities, alone = self._continuous(seen, body, spacing[0])
        cuts = self.cuts[SCANS]
        chest = chest_of(probabilities, coarse, spacing, space, cuts) if space else None
        if chest and not self._heard(chest.context) and set(CHEST_KINDS) & set(self.recipe.inputs):
            # Who does not recognise the lung has misled the network of the slices too.
            seen = replace(seen, chest={})
            probabilities, alone = self._continuous(seen, body, spacing[0])
        heard = chest if chest and self._heard(chest.context) else None
        leave_out(probabilities, heard, cuts)
        level = min(cuts.lung, cuts.lesion)
        box = box_reaching(probabilities[:2], level, (hu.shape[1], hu.shape[2]))
        give_back_freed_memory(scan.hu_kji.nbytes)
        with ThreadPoolExecutor(1) as beside:  # the way back to the scanner's grid leaves a core idle
            doubt = beside.submit(self._doubt, seen, body, alone, heard, probabilities)
            if box:
                native = (hu.shape[0], hu.shape[1], hu.shape[2])
                if self.device == "cuda":
                    planes = labelled_planes(probabilities, native, box, cuts, self.device)
                else:
                    planes = (labelled(plane, cuts) for plane in native_planes(probabilities, native, box))
                for k, plane in enumerate(planes):
                    axial[k][box] = plane
            if scan.no_data_kji is not None:
                labels_kji[scan.no_data_kji] = Tissue.OUTSIDE
        return labels_kji, doubt.result(), chest

    def slices(self, pictures: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.uint8]]:
        """Tissue of ready-made 8-bit grey slices of any size, each at its own size.

        Parameters
        ----------
        pictures
            Grey levels 0 to 255, radiological view; already contrast-enhanced or in a lung window.

        Returns
        -------
        list[NDArray[np.uint8]]
            uint8 (j, i), values of `Tissue`, one for each picture.
        """
        labels = []
        for picture in pictures:
            size = (picture.shape[0], picture.shape[1])
            grey = resize(picture.astype(np.float32), fitted_shape(size, self.recipe)) / np.float32(255)
            found = self.probabilities([ready_made(grey, self.recipe)])[0]
            labels.append(labelled(np.stack([resize(channel, size) for channel in found]), self.cuts[SLICES]))
        return labels

    def _volume(
        self,
        seen: Volume,
        body: PlaneBox,
        progress: Progress | None = None,
        sample: Sequence[int] | None = None,
        mirrored: bool = False,
        offset_hu: float = 0.0,
    ) -> NDArray[np.float16]:
        """Probabilities on the network's grid, float16 (3, k, j, i): half the memory, steps of 0.0005 at most.

        The network looks at the box of the body; what lies outside it is neither lung nor lesion. Batches are
        computed beside each other, on one core each: that needs less CPU time than one batch on all cores, and the
        answer does not depend on their number.

        Parameters
        ----------
        seen, body
            The scan on the network's grid, and the box.
        progress
            Called with slices done and slices in all.
        sample
            Of these slices alone.
        mirrored, offset_hu
            Of the scan mirrored, and with this added to its HU.
        """
        size, offset = self.batch_slices, np.float32(offset_hu)
        slices = range(len(seen)) if sample is None else sample
        probabilities = np.zeros((len(OUTPUTS), len(slices), *seen.hu_kji.shape[1:]), np.float16)
        inside = probabilities[(slice(None), slice(None), *body)]

        def look(start: int) -> None:
            planes = (seen.plane(k).changed(lambda hu_ji: hu_ji + offset) for k in slices[start : start + size])
            pictures = [pictures_of(plane, self.recipe).part(body) for plane in planes]
            batch = self._batch([picture.mirrored() for picture in pictures] if mirrored else pictures)
            found = self._computed(batch).half().numpy()[:, :, : inside.shape[2], : inside.shape[3]]
            inside[:, start : start + len(found)] = (found[..., ::-1] if mirrored else found).transpose(1, 0, 2, 3)

        starts = range(0, len(slices), size)
        with _one_core_each() as threads:
            for start, _ in zip(starts, threads.map(look, starts), strict=True):
                if progress:
                    progress(min(start + size, len(slices)), len(slices))
        return probabilities

    def _heard(self, context: ChestContext) -> bool:
        """Whether the network of the chest recognises the lung well enough to say what is disease."""
        return context.agreement >= self.settings.context_agreement

    def _continuous(
        self, seen: Volume, body: PlaneBox, spacing_mm: float
    ) -> tuple[NDArray[np.float16], "_Alone | None"]:
        """Probabilities, each slice averaged with those beside it, and what the interval needs of each alone."""
        probabilities = self._volume(seen, body, self.progress)
        alone = self._alone(probabilities)
        smooth_between_slices(probabilities, spacing_mm, self.settings.smooth_between_slices_mm)
        return probabilities, alone

    def _alone(self, probabilities: NDArray[np.float16]) -> "_Alone | None":
        """Slices as the calibration saw them; None where no interval is wanted, or nothing is called lung."""
        cuts, moves = self.cuts[SCANS], self.interval
        with_lung = np.flatnonzero(reaching(probabilities[0], cuts.lung).any(axis=(1, 2)))
        count = min(moves.slices if moves else 0, len(with_lung))
        if moves is None or not count or self.model.card.calibration is None:
            return None
        sample = with_lung[((np.arange(count) + 0.5) * len(with_lung) / count).astype(int)].tolist()
        counts = threshold_counts(probabilities, cuts, moves.threshold_step)
        return _Alone(counts, sample, probabilities[:, sample])

    def _doubt(
        self,
        seen: Volume,
        body: PlaneBox,
        alone: "_Alone | None",
        heard: Chest | None,
        probabilities: NDArray[np.float16],
    ) -> Doubt | None:
        """How far the shares move, and how much of the lung is undecided; see `segment.uncertainty`.

        Thresholds are moved on every slice, the rest on a sample, each slice alone as in calibration. What is
        undecided is counted where the labels come from: averaged, and without organs.
        """
        calibration, moves = self.model.card.calibration, self.interval
        if calibration is None or moves is None or alone is None:
            return None
        cuts, slices, offset = self.cuts[SCANS], alone.sample, moves.hu_offset
        again = {
            BASE: alone.sampled,
            "mirrored": self._volume(seen, body, sample=slices, mirrored=True),
            "hu low": self._volume(seen, body, sample=slices, offset_hu=-offset),
            "hu high": self._volume(seen, body, sample=slices, offset_hu=offset),
        }
        for part in again.values():
            leave_out(part, heard, cuts, slices)
        points = spread_points(alone.counts | {name: class_counts(p, cuts) for name, p in again.items()})
        if not points:
            return None
        return Doubt(
            points,
            calibration.reference,
            calibration.floor_points,
            calibration.widening,
            calibration.level,
            calibration.range,
            _undecided_percent(probabilities, cuts),
            calibration.undecided,
        )

    def probabilities(self, pictures: Sequence[Pictures], mirrored: bool = False) -> NDArray[np.float32]:
        """Probabilities of lung, lesion and solid for slices of one size.

        Parameters
        ----------
        pictures
            From `pictures_of` or `ready_made`.
        mirrored
            Segment the slices after left-right flipping, and flip the result back.

        Returns
        -------
        NDArray[np.float32]
            (n, 3, j, i), 0 to 1.
        """
        if mirrored:
            return self.probabilities([seen.mirrored() for seen in pictures])[..., ::-1]
        rows, columns = pictures[0].shape_ji
        found: NDArray[np.float32] = self._computed(self._batch(pictures)).numpy()
        return found[:, :, :rows, :columns]

    def _batch(self, pictures: Sequence[Pictures]) -> torch.Tensor:
        """The network's input, on its device."""
        batch = torch.from_numpy(network_batch(pictures, self.recipe))
        return batch.contiguous(memory_format=torch.channels_last).to(self.device)

    def _computed(self, batch: torch.Tensor) -> torch.Tensor:
        """Probabilities (n, 3, j, i) of a batch in 32 bits on the CPU, padding included."""
        with torch.inference_mode():
            logits = self._network(batch.to(self._kind))
            return torch.sigmoid(logits.float() / self._temperature).cpu()


@dataclass(frozen=True, slots=True, eq=False)
class _Alone:
    """What slices are before they are averaged with those beside them.

    `counts` are those of every slice at moved thresholds; `sampled` are the probabilities of the slices `sample`,
    evenly spaced among those in which anything is called lung.
    """

    counts: dict[str, Counts]
    sample: list[int]
    sampled: NDArray[np.float16]


def _undecided_percent(probabilities: NDArray[np.float16], cuts: Cuts) -> float:
    """Of the lung; slice by slice, which stays in the caches."""
    counts = np.zeros(2, np.int64)
    for k in range(probabilities.shape[1]):
        counts += undecided_voxels(probabilities[:, k], cuts)
    undecided, lung = counts.tolist()
    return 100 * undecided / max(lung, 1)


def _left_out_ml(chest: Chest) -> dict[str, float]:
    """Lesion slice by slice that the network of the chest took away, in mL by cause."""
    taken = {"lesion_in_organs_ml": chest.context.lesion_in_organs_ml}
    return taken | ({"lesion_in_fluid_ml": chest.fluid_lesion_ml} if chest.fluid_lesion_ml else {})


def _fluid(chest: Chest, labels_kji: NDArray[np.uint8], scan: CtScan) -> NDArray[np.bool_]:
    """Pleural fluid on the scan's own grid, where nothing else was labelled."""
    fluid_kji = np.zeros(labels_kji.shape, bool)
    if not chest.fluid_kji.any():
        return fluid_kji
    view = axial_view(scan.grid)
    axial, labels = view.of(fluid_kji), view.of(labels_kji)
    coarse = chest.fluid_kji[None].astype(np.float16)
    native = (axial.shape[0], axial.shape[1], axial.shape[2])
    box = box_reaching(coarse, 0.5, (native[1], native[2]))
    if box:
        for k, (plane,) in enumerate(native_planes(coarse, native, box)):
            axial[k][box] = (plane >= 0.5) & (labels[k][box] == Tissue.OUTSIDE)
        if scan.no_data_kji is not None:
            fluid_kji &= ~scan.no_data_kji
    return fluid_kji


@contextmanager
def _one_core_each() -> Iterator[ThreadPoolExecutor]:
    """Threads on one core each, together on as many as torch would use; its own number is the same afterwards."""
    cores = torch.get_num_threads()
    threads = ThreadPoolExecutor(min(cores, MOST_THREADS), initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield threads
    finally:
        threads.shutdown(cancel_futures=True)
        torch.set_num_threads(cores)


def load_segmenter(config: Config | None = None, progress: Progress | None = None) -> NetworkSegmenter:
    """The segmenter that the settings name, verified.

    Parameters
    ----------
    config
        Names the model, the device and the thresholds; the defaults if None.
    progress
        Called with slices done and slices in all, after each batch.

    Returns
    -------
    NetworkSegmenter
        Ready to label scans.

    Raises
    ------
    ModelError
        If the model is missing, was changed, or does not reproduce its probe; or the device is not there.
    """
    config = config or load_config()
    model = load_model(find_model(config.segment.model))
    segmenter = NetworkSegmenter(model, config.segment, progress, config.interval)
    _LOG.info("model %s on %s in %s", model.folder.name, segmenter.device, segmenter.precision)
    return segmenter


def chosen_device(wanted: str) -> str:
    """The device for a setting.

    Parameters
    ----------
    wanted
        ``auto``, ``cpu`` or ``cuda``.

    Returns
    -------
    str
        ``cpu`` or ``cuda``.

    Raises
    ------
    ModelError
        If CUDA was asked for and is not there.
    """
    there = torch.cuda.is_available()
    if wanted == "cuda" and not there:
        raise ModelError("no CUDA device here", hint="Run with --device cpu, or --device auto.")
    return "cuda" if there and wanted != "cpu" else "cpu"


def chosen_precision(wanted: str, device: str) -> str:
    """The arithmetic for a setting: bf16 where the processor multiplies it, since elsewhere it is slower.

    Parameters
    ----------
    wanted
        ``auto``, ``fp32`` or ``bf16``.
    device
        ``cpu`` or ``cuda``.

    Returns
    -------
    str
        ``fp32`` or ``bf16``.
    """
    if wanted != "auto":
        return wanted
    if device == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    # Before 2.12 torch does not report what the processor can do.
    able: Mapping[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return "bf16" if able.get("avx512_bf16") or able.get("amx_bf16") else "fp32"


def fix_cublas_workspace() -> None:
    """Have cuBLAS add in the same order each time, unless the environment says how; it asks at its first use."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def _deterministic() -> None:
    """The same scan gives the same volume on the same card; a GPU's fast paths do not promise that."""
    fix_cublas_workspace()
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
