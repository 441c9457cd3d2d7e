"""What sites send -> a list of scans that a person confirms and `volumetry batch` measures."""

from volumetry.intake.run import Intake, intake

__all__ = ["Intake", "intake"]
