"""Results, visits and arms to the endpoint tables."""

from volumetry.storage.csv_tables import TableError
from volumetry.trial.config import TrialConfig, load_trial_config
from volumetry.trial.run import Analysis, TrialOutcome, analyse, run_trial

__all__ = [
    "Analysis",
    "TableError",
    "TrialConfig",
    "TrialOutcome",
    "analyse",
    "load_trial_config",
    "run_trial",
]
