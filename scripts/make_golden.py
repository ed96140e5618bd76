"""Write tests/golden/features.npz: PyTorch's features with the original float32 weights.

    python scripts/make_golden.py vgg_normalised.pth

For each of the 16 convolutions the file holds 256 values at random positions and the largest
absolute value. The embedded weights are float16, so the test's tolerance covers that rounding.
"""

import sys
from pathlib import Path

import numpy as np
import torch
import torch_reference
from convert_vgg19 import to_params

from jaxstyle.io.images import read_image
from jaxstyle.io.keras import CONVS

ROOT = Path(__file__).parent.parent
IMAGE, SIZE, SAMPLES = "tests/images/chelsea.jpg", 96, 256


def main() -> None:
    params = to_params(Path(sys.argv[1]), "normalized")
    image = torch.from_numpy(np.array(read_image(ROOT / IMAGE, SIZE)))
    random = np.random.default_rng(0)
    golden = {}
    weights = torch_reference.to_torch(params, image)
    for name, features in torch_reference.features(weights, image, CONVS).items():
        values = features.permute(1, 2, 0).numpy().ravel()
        positions = random.choice(values.size, SAMPLES, replace=False)
        golden[f"{name}/places"] = positions.astype(np.int32)
        golden[f"{name}/values"] = values[positions]
        golden[f"{name}/largest"] = np.abs(values).max()
    folder = ROOT / "tests" / "golden"
    folder.mkdir(exist_ok=True)
    np.savez_compressed(folder / "features.npz", **golden)


if __name__ == "__main__":
    main()
