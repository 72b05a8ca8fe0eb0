"""Makes resnet_pose_*.safetensors with PyTorch: see README.md.
    python3 make_resnet_pose.py           (any torch >= 1.13, numpy)"""
import numpy as np
import torch

import networks
import resnet
from networks import draw

RANGES = torch.tensor([60.0] * 3 + [25.0] * 3, dtype=torch.float64)


def case(name, make, samples, extents, keep):
    target = torch.from_numpy(draw(3001, samples, 6) * RANGES.numpy().astype(np.float32))
    loss = lambda y: ((y - target.to(y.dtype) / RANGES.to(y.dtype)) ** 2).mean()
    networks.case(name, make, draw(3000, samples, 1, *extents, low=0.0), loss, keep, lambda index, y: y.numpy(),
                  {"extents": np.array([samples, *extents], np.int32)})


if __name__ == "__main__":
    torch.manual_seed(1)
    small = {"features": (4, 6), "blocks": (1, 2), "hidden": 5}
    case("resnet_pose_small", lambda: resnet.ResNetPose(**small), 3, (13, 10, 12), networks.whole)
    case("resnet_pose_group", lambda: resnet.ResNetPose(**small, coordinates=True, norm="group"), 2, (12, 14, 9),
         networks.whole)
    case("resnet_pose_full", lambda: resnet.ResNetPose(), 4, (32, 32, 32), networks.summary)
    case("resnet_pose_full_coordinates", lambda: resnet.ResNetPose(coordinates=True), 4, (32, 32, 32), networks.summary)
