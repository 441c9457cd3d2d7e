"""Results written into a folder without a scan behind them."""

from pathlib import Path
from typing import Any

from volumetry.config import Config
from volumetry.deliver import fill, fill_failure
from volumetry.deliver.corrections import new_scan_result
from volumetry.domain import ScanFailure, ScanResult, TissueMap


def deliver(result: ScanResult, tissue: TissueMap, config: Config, folder: Path) -> dict[str, Any]:
    """Mask, result, row and run record of a measured scan."""
    with new_scan_result(folder, _unheard) as making:
        return fill(result, tissue, config, making)


def deliver_failure(failure: ScanFailure, config: Config, folder: Path) -> dict[str, Any]:
    """The same without a mask, for a scan that gives no number."""
    with new_scan_result(folder, _unheard) as making:
        return fill_failure(failure, config, making)


def _unheard(_sentence: str) -> None:
    """Nobody is told what became of corrections."""
