"""Times a training step of the pose network (forward, mean square error, backward, AdamW) in PyTorch; prints JSON.
    python3 resnet_pose_torch.py --size 64 64 64 --batch 4 --threads 2 [--tuned]
The volumes are given: making them from poses, which `medtrain-dist bench` includes, is not counted."""
import argparse

import peer


def make(options):
    import torch
    import resnet
    target = torch.rand(options.batch, 6).to(options.device)
    return (resnet.ResNetPose(coordinates=not options.no_coordinates), [torch.rand(options.batch, 1, *options.size)],
            lambda out, tensors: ((out - target) ** 2).mean(), torch.optim.AdamW)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, nargs=3, default=(64, 64, 64))
    parser.add_argument("--no-coordinates", action="store_true")
    peer.add_timing_options(parser, 4)
    peer.add_environment_options(parser)
    options = parser.parse_args()
    peer.time_steps(options, make, {"coordinates": not options.no_coordinates})


if __name__ == "__main__":
    main()
