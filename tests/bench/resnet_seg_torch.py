"""Times a training step of the volumetric segmentation network (forward, weighted cross entropy of the logits brought to
full resolution, backward, Adam) in PyTorch; prints JSON.
    python3 resnet_seg_torch.py --size 128 256 32 --batch 2 --threads 2 [--tuned] [--best] [--bf16]"""
import argparse

import peer

WEIGHTS = (0.1, 1.0, 1.0, 1.0, 1.0)


def make(options):
    import torch
    import torch.nn.functional as F
    from segmentation import ResNetSeg
    weight = torch.tensor(WEIGHTS, device=options.device)
    labels = torch.randint(0, len(WEIGHTS), (options.batch, *options.size), device=options.device)

    def loss(out, tensors):
        full = F.interpolate(out.float(), scale_factor=2, mode="trilinear", align_corners=False)
        return F.cross_entropy(full, labels, weight)

    return (ResNetSeg(options.preset, options.channels, len(WEIGHTS)),
            [torch.rand(options.batch, options.channels, *options.size)], loss, torch.optim.Adam)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, nargs=3, default=(128, 256, 32))
    parser.add_argument("--channels", type=int, default=2)
    parser.add_argument("--preset", default="resnet50e2_unet")
    peer.add_timing_options(parser, 2)
    peer.add_environment_options(parser)
    options = parser.parse_args()
    peer.time_steps(options, make, {"preset": options.preset, "channels": options.channels})


if __name__ == "__main__":
    main()
