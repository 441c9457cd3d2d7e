"""A mistyped setting stops the run."""

from pathlib import Path

import pytest

from volumetry.codes import Outcome
from volumetry.config import Config, decides_a_number, load_config, stored_config
from volumetry.errors import ConfigError
from volumetry.storage.shipped import shipped


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[tidy]\nmin_lung_islnd_mm3 = 1", "tidy.min_lung_islnd_mm3"),
        ("[tidy]\nmin_lung_island_mm3 = -1", "tidy.min_lung_island_mm3"),
        ("[measure]\nhu_cuts = [0, -300, 50]", "must rise"),
        ("[outcomes]\nMISSING_SLICES = 'flag'", "cannot be made flag"),
        ("[outcomes]\nNO_SUCH = 'flag'", "not a code of the catalogue"),
        ("[select]\nrule = 'kernel'", "needs kernel_preference"),
        ("[segment]\nlesion_probability = 1.5", 'segment.lesion_probability: 1.5 is neither "model" nor'),
        ("[segment]\nlesion_probability = 'card'", "segment.lesion_probability: 'card' is neither"),
        ("profile = ", "not valid TOML"),
        ("[geometry]\nmin_coverage_mm = nan", "geometry.min_coverage_mm"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path, text, says):
    path = tmp_path / "site.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=says):
        load_config(path)


def test_a_missing_file_is_an_error_and_not_the_defaults():
    with pytest.raises(ConfigError, match="cannot read"):
        load_config(Path("nowhere.toml"))


@pytest.mark.parametrize("name", ["nct04288102", "core-lab", "radiologist"])
def test_shipped_files_are_valid_and_differ_from_the_defaults(name):
    assert load_config(name) == load_config(Path(name))
    assert load_config(name).sha256 != load_config().sha256


def test_the_digest_depends_on_values_and_not_on_files(tmp_path):
    same = tmp_path / "same.toml"
    same.write_text("[measure]\ncomponent_rule = 'network'\n")
    assert load_config(same).sha256 == load_config().sha256


def test_the_trial_profile_and_settings_only_make_outcomes_stricter(tmp_path):
    trial = load_config(overrides={"profile": "trial", "outcomes": {"CONTRAST": "refuse"}})
    assert load_config().outcome_of("THICK_SLICES") is Outcome.FLAG
    assert trial.outcome_of("THICK_SLICES") is Outcome.REFUSE
    assert trial.outcome_of("CONTRAST") is Outcome.REFUSE
    assert trial.outcome_of("METAL") is Outcome.FLAG


def test_every_setting_stands_in_the_default_file_with_a_reason():
    text = (shipped("configs") / "default.toml").read_text("utf-8")
    lines = {line.split("=")[0].strip(): line for line in text.splitlines() if "=" in line and line[0] != "#"}
    for section in Config.model_fields:
        fields = getattr(Config.model_fields[section].annotation, "model_fields", {})
        for field in fields:
            assert field in lines, f"{section}.{field} is not in default.toml"


def test_settings_that_an_older_version_kept_are_read_with_todays_defaults() -> None:
    today = load_config(Path("nct04288102"))
    kept = today.model_dump(mode="json")
    del kept["export"], kept["receive"], kept["limits"]["max_unpacked_gb"], kept["quality"]["move_points"]
    assert stored_config(kept) == today


def _changed(config: Config, section: str, key: str) -> Config:
    """The same settings but for one; unchecked, since only the digest is asked for."""
    part = getattr(config, section)
    return config.model_copy(update={section: part.model_copy(update={key: ["another", getattr(part, key)]})})


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
def test_only_what_decides_a_number_is_in_the_digest() -> None:
    config = load_config()
    sections = [name for name in Config.model_fields if name not in ("profile", "outcomes")]
    keys = [(section, key) for section in sections for key in type(getattr(config, section)).model_fields]
    left_out = {at for at in keys if _changed(config, *at).sha256 == config.sha256}
    wanted = {at for at in keys if at[0] in ("limits", "change_map", "export", "report", "receive")}
    assert left_out == wanted | {("segment", "device"), ("segment", "batch_slices")}
    assert left_out == {at for at in keys if not decides_a_number(*at)}


def test_a_setting_that_was_removed_is_named_as_such_where_a_file_states_it(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("[interval]\nevery_slices = 4\n")
    with pytest.raises(ConfigError, match=r"interval\.every_slices is a setting of an earlier version") as stop:
        load_config(tmp_path / "mine.toml")
    assert "Delete the line" in stop.value.hint
    with pytest.raises(ConfigError, match=r"interval\.every_slice\b.*not permitted"):
        load_config(overrides={"interval": {"every_slice": 4}})


def test_settings_of_the_first_version_are_read_without_what_was_dropped_since() -> None:
    kept = load_config().model_dump(mode="json")
    kept["deliver"] = {"include_patient_id": False}
    kept["interval"]["every_slices"] = 4
    kept["tidy"] |= {"dome_flatness": 0.5, "gas_edge_mm": 3.0}
    kept["change_map"]["mesh_mm"] = 40.0
    assert stored_config(kept) == load_config()
    assert stored_config(load_config().stored()) == load_config()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"settings_version": 99}, "version 99"),
        ({"tidy": {"min_lung_islnd_mm3": 1.0}}, "tidy.min_lung_islnd_mm3"),
        ({"deliver": {"include_patients_id": True}}, "deliver"),
    ],
)
def test_stored_settings_that_no_version_knew_are_an_error(wrong: dict[str, object], says: str) -> None:
    kept = load_config().model_dump(mode="json")
    for section, value in wrong.items():
        kept[section] = {**kept[section], **value} if section in kept and isinstance(value, dict) else value
    with pytest.raises(ConfigError, match=says):
        stored_config(kept)


def test_a_name_that_is_not_shipped_is_answered_with_those_that_are(tmp_path):
    with pytest.raises(ConfigError) as stop:
        load_config("nope")
    assert "core-lab, default, nct04288102, open, radiologist" in stop.value.hint
    assert "train" not in stop.value.hint
    with pytest.raises(ConfigError) as stop:
        load_config(tmp_path / "nope.toml")
    assert "shipped configurations" not in stop.value.hint
