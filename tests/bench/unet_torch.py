"""Times a training step of the planar U-Net (forward, binary cross entropy of overlapping structures, backward, Adam) in
PyTorch; prints JSON.
    python3 unet_torch.py --size 256 256 --batch 8 --threads 2 [--tuned] [--best] [--bf16]"""
import argparse

import peer


def make(options):
    import torch
    import torch.nn.functional as F
    from segmentation import UNet
    shape = (options.batch, options.classes, *options.size)
    truth = torch.randint(0, 2, shape, device=options.device).float()
    return (UNet(classes=options.classes), [torch.rand(options.batch, 1, *options.size)],
            lambda out, tensors: F.binary_cross_entropy_with_logits(out.float(), truth), torch.optim.Adam)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, nargs=2, default=(256, 256))
    parser.add_argument("--classes", type=int, default=117)
    peer.add_timing_options(parser, 8)
    peer.add_environment_options(parser)
    options = parser.parse_args()
    peer.time_steps(options, make, {"classes": options.classes})


if __name__ == "__main__":
    main()
