"""Pixels and figures as PNG, the same bytes every time, and as data URIs that a page carries inside itself."""

import base64
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from volumetry.domain import FLUID, Tissue

if TYPE_CHECKING:
    from matplotlib.figure import Figure


TISSUE_RGB = {
    Tissue.AERATED: (143, 180, 217),
    Tissue.GROUND_GLASS: (245, 183, 0),
    Tissue.SOLID: (214, 31, 105),
    Tissue.UNCLASSED: (20, 184, 166),
    FLUID: (124, 58, 237),
}
"""One colour for a tissue in report, contact sheet, viewer and SEG. Those of the lesion are far apart in lightness
too, so that they differ without colour vision and on paper."""


def png_bytes(pixels: NDArray[np.uint8]) -> bytes:
    """Pixels as PNG without metadata.

    Parameters
    ----------
    pixels
        uint8: grey (rows, columns) or RGB (rows, columns, 3).

    Returns
    -------
    bytes
        The file.
    """
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def figure_png(figure: "Figure", dpi: int) -> bytes:
    """A figure as PNG without metadata.

    Parameters
    ----------
    figure
        Of matplotlib.
    dpi
        Pixels per inch.

    Returns
    -------
    bytes
        The file.
    """
    stream = BytesIO()
    figure.savefig(stream, format="png", dpi=dpi, metadata={"Software": None})
    return stream.getvalue()


def data_uri(png: bytes) -> str:
    """PNG bytes as a data URI.

    Parameters
    ----------
    png
        A PNG file.

    Returns
    -------
    str
        For the ``src`` of an image.
    """
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"
