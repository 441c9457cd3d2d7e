"""The network comes without the rest of MONAI, and is MONAI's."""

import subprocess
import sys

ALONE = """
import sys
from volumetry.segment.monai_networks import UNet
for heavy in ("monai", "monai.transforms", "pandas", "matplotlib", "nibabel"):
    assert heavy not in sys.modules, heavy
import torch
def made(kind):
    torch.manual_seed(1)
    return kind(2, in_channels=2, out_channels=3, channels=(4, 8, 16), strides=(2, 2), num_res_units=1)
ours = made(UNet).eval()
import monai
from monai.networks.nets import UNet as Whole
assert monai.transforms.Compose and UNet is not Whole
whole = made(Whole).eval()
x = torch.randn(1, 2, 16, 16)
assert torch.equal(ours(x), whole(x))
assert list(ours.state_dict()) == list(whole.state_dict())
"""

AFTER_ALL_OF_IT = """
from monai.networks.nets import UNet as Whole
from volumetry.segment.monai_networks import UNet
assert UNet is Whole
"""

OTHERWISE_BUILT = """
import ast, sys
parse = ast.parse
def refuse(source, *more, **how):
    if sys._getframe(1).f_globals["__name__"].startswith("volumetry."):
        raise SyntaxError("a MONAI of the future")
    return parse(source, *more, **how)
ast.parse = refuse
from volumetry.segment.monai_networks import UNet
assert UNet.__module__ == "monai.networks.nets.unet" and "monai.transforms" in sys.modules
"""


def run(code):
    done = subprocess.run(  # noqa: S603  our own code
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr


def test_the_network_is_monais_and_comes_alone():
    run(ALONE)


def test_where_monai_is_imported_already_it_is_used():
    run(AFTER_ALL_OF_IT)


def test_a_monai_that_is_built_otherwise_is_imported_as_usual():
    run(OTHERWISE_BUILT)
