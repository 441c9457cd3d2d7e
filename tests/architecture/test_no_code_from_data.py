"""Nothing in the program turns data into code: no pickle, no eval, no shell, no loader that would."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "volumetry"
MODULES = sorted(PACKAGE.rglob("*.py"))

FORBIDDEN_IMPORTS = {
    "pickle",
    "_pickle",
    "cPickle",
    "dill",
    "cloudpickle",
    "joblib",
    "marshal",
    "shelve",
    "multiprocessing",
}
FORBIDDEN_IMPORTS |= {"gdcm", "libjpeg", "imp", "code", "codeop", "pty", "commands"}
FORBIDDEN_NAMES = {"eval", "exec", "compile", "__import__"}
FORBIDDEN_CALLS = {
    "os.system", "os.popen", "os.execv", "os.execvp", "os.spawnl", "os.spawnv", "subprocess.getoutput",
    "subprocess.getstatusoutput", "torch.load", "torch.jit.load", "torch.hub.load", "torch.package",
    "numpy.load", "np.load",
    "monai.bundle", "yaml.load", "yaml.unsafe_load", "runpy.run_path", "pandas.read_pickle", "pd.read_pickle",
    "tempfile.mktemp", "shutil.unpack_archive",
}  # fmt: skip
FORBIDDEN_METHODS = {"extractall", "read_pickle", "to_pickle", "from_pickle"}


def _dotted(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def _offences(source: str) -> list[tuple[int, str]]:
    found = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import():
                found += [(node.lineno, a.name) for a in node.names if a.name.split(".")[0] in FORBIDDEN_IMPORTS]
                found += [(node.lineno, a.name) for a in node.names if a.name.startswith("monai.bundle")]
            case ast.ImportFrom(module=str(module)):
                names = [module, *(f"{module}.{a.name}" for a in node.names)]
                bad = module.split(".")[0] in FORBIDDEN_IMPORTS or FORBIDDEN_CALLS & set(names)
                if bad or module.startswith("monai.bundle"):
                    found.append((node.lineno, names[-1]))
            case ast.Call():
                name = _dotted(node.func)
                method = node.func.attr if isinstance(node.func, ast.Attribute) else ""
                if name in FORBIDDEN_NAMES | FORBIDDEN_CALLS or method in FORBIDDEN_METHODS:
                    found.append((node.lineno, name or method))
                for keyword in node.keywords:
                    truth = isinstance(keyword.value, ast.Constant) and bool(keyword.value.value)
                    if keyword.arg in ("shell", "allow_pickle") and truth:
                        found.append((node.lineno, f"{keyword.arg}=True"))
                    if keyword.arg == "weights_only" and not truth:
                        found.append((node.lineno, "weights_only=False"))
    return found


@pytest.mark.parametrize("path", MODULES, ids=[str(p.relative_to(PACKAGE)) for p in MODULES])
def test_no_module_turns_data_into_code(path):
    assert _offences(path.read_text("utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from joblib import load",
        "import multiprocessing.pool",
        "eval('1')",
        "import subprocess\nsubprocess.run('ls', shell=True)",
        "import torch\ntorch.load('x')",
        "from torch import load",
        "import numpy as np\nnp.load('x')",
        "f(weights_only=False)",
        "archive.extractall('.')",
        "from monai.bundle import ConfigParser",
    ],
)
def test_the_test_sees_what_it_looks_for(source):
    """Otherwise it could not fail."""
    assert _offences(source)


def test_templates_escape_and_trust_nothing():
    """Automatic escaping is on wherever Jinja is used, and no template switches it off."""
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and _dotted(node.func).split(".")[-1] == "Environment":
                escape = {k.arg: k.value for k in node.keywords}.get("autoescape")
                assert escape is not None, path
                assert not (isinstance(escape, ast.Constant) and not escape.value), path
    for path in PACKAGE.rglob("*"):
        if path.suffix in (".html", ".j2", ".jinja"):
            assert "autoescape false" not in path.read_text("utf-8"), path
