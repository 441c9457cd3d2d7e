"""The trial's settings: all in one file, each checked."""

import tomllib

import pytest
from pydantic import BaseModel

from volumetry.errors import ConfigError
from volumetry.storage.shipped import shipped
from volumetry.trial.config import TrialConfig, load_trial_config, plain


def _file(tmp_path, text):
    path = tmp_path / "mine.toml"
    path.write_text(text, "utf-8")
    return path


def test_every_key_of_the_file_is_a_setting_and_has_its_reason():
    text = (shipped("configs") / "trial.toml").read_text("utf-8")
    stated = tomllib.loads(text)
    for name, field in TrialConfig.model_fields.items():
        assert issubclass(field.annotation, BaseModel)
        assert set(stated[name]) == set(field.annotation.model_fields)
    for section in ("endpoint", "statistics", "pair"):
        assert not [
            n for n, f in TrialConfig.model_fields[section].annotation.model_fields.items() if not f.is_required()
        ]


def test_a_users_file_states_differences(tmp_path):
    config = load_trial_config(_file(tmp_path, '[arms]\nreference = ["Saline"]\n'))
    assert config.arms.reference == ("Saline",)
    assert config.statistics == load_trial_config().statistics
    assert config.sha256 != load_trial_config().sha256


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[statistics]\nalpha = 0.05\n", r"statistics\.alpha"),
        ('[statistics]\nmultiplicity = "bonferroni"\n', r"statistics\.multiplicity"),
        ("[statistics]\nci_level = 95\n", r"statistics\.ci_level"),
        ('[endpoint]\nscales = ["absolute_points"]\n', "primary_scale must be one of scales"),
        ("[pair]\nvolume_b = 0.2\n", "volume_b < volume_c"),
        ('[windows]\nplanned = [{visit="a", names=["a"], day=5, earliest=6, latest=9}]\n', "must rise"),
        ("[pair\n", "not valid TOML"),
    ],
)
def test_a_wrong_setting_stops_with_its_name(tmp_path, text, says):
    with pytest.raises(ConfigError, match=says) as stop:
        load_trial_config(_file(tmp_path, text))
    assert stop.value.exit_code == 4


def test_names_are_compared_without_case_and_blanks():
    windows = load_trial_config().windows
    assert windows.named("DAY-28").visit == windows.named("d28").visit == "d28"
    assert windows.named("Month 12").visit == "m12"
    assert windows.named("d29") is None
    assert plain(" M_12 ") == "m12"
