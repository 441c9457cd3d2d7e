"""A file of settings says what is wrong with it: which file, which key, what, and what to do."""

import pytest
from pydantic import BaseModel, ConfigDict, Field, model_validator

from volumetry.errors import ConfigError, ModelError
from volumetry.storage.toml_file import load_toml


class Cut(BaseModel):
    model_config = ConfigDict(extra="forbid")
    depth_mm: float = Field(gt=0)


class Plan(BaseModel):
    model_config = ConfigDict(extra="forbid")
    first: Cut
    second: Cut

    @model_validator(mode="after")
    def _deeper(self) -> "Plan":
        if self.second.depth_mm <= self.first.depth_mm:
            raise ValueError("the second cut must be deeper")
        return self


@pytest.fixture
def plan(tmp_path):
    def written(text: str | bytes):
        path = tmp_path / "plan.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return written


def test_a_right_file_is_its_model(plan):
    path = plan("first.depth_mm = 1\nsecond.depth_mm = 2.5")
    assert load_toml(path, Plan) == Plan(first=Cut(depth_mm=1.0), second=Cut(depth_mm=2.5))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("first.depth_mm = 1", "plan.toml: second: Field required"),
        ("first.depth_mm = 0\nsecond.depth_mm = 1", "plan.toml: first.depth_mm: Input should be greater than 0"),
        (
            "first = {depth_mm = 1, depht_mm = 1}\nsecond.depth_mm = 2",
            "plan.toml: first.depht_mm: Extra inputs are not permitted",
        ),
        ("first.depth_mm = 1\nsecond.depth_mm = 1", "plan.toml: the second cut must be deeper"),
    ],
)
def test_a_wrong_key_is_named_and_what_is_wrong_with_it(plan, text, message):
    with pytest.raises(ConfigError) as stop:
        load_toml(plan(text), Plan)
    assert stop.value.message == message


@pytest.mark.parametrize("text", ["[first", b"name = '\xff'"])
def test_what_is_no_toml_is_said_to_be_none(plan, text):
    with pytest.raises(ConfigError, match=r"plan\.toml is not valid TOML: "):
        load_toml(plan(text), Plan)


def test_a_missing_file_stops_as_asked_and_its_folder_stays_unsaid(tmp_path):
    with pytest.raises(ModelError) as stop:
        load_toml(tmp_path / "absent.toml", Plan, called="the plan", stop=ModelError, hint="Write one.")
    assert stop.value.message == "cannot read the plan: No such file or directory"
    assert stop.value.hint == "Write one."


def test_without_a_hint_of_its_own_the_stop_keeps_the_one_of_its_kind(tmp_path):
    with pytest.raises(ConfigError) as stop:
        load_toml(tmp_path / "absent.toml", Plan)
    assert stop.value.hint == ConfigError.hint
