"""docs/generate.py, imported from where it lies: it belongs to the documentation and is in no package."""

import importlib.util
from pathlib import Path

_FILE = Path(__file__).resolve().parents[1] / "docs" / "generate.py"
_spec = importlib.util.spec_from_file_location("docs_generate", _FILE)
generate = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(generate)
