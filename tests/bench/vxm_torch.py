"""Times a VoxelMorph training step (forward, losses, backward, Adam) in PyTorch; prints JSON.
    python3 vxm_torch.py --size 96 96 96 --threads 2 --steps 5 [--loss lncc] [--tuned]
    python3 vxm_torch.py --size 160 192 224 --device cuda --steps 20 [--bf16] [--best]
On the GPU --best tries what makes PyTorch fast (channels last, cudnn.benchmark, torch.compile, Adam in one kernel)
one on top of the other and prints the fastest; every setting tried is in the JSON."""
import argparse

import peer


def make(options):
    """Two images and their label maps; the time does not depend on what is in them."""
    import torch
    import vxm
    shape = (options.batch, 1, *options.size)
    images = [torch.rand(shape) for _ in range(2)]
    labels = [torch.randint(0, options.classes, shape) for _ in range(2)] if options.lam_dice else []
    hot = [vxm.one_hot(label, options.classes).float().to(options.device) for label in labels]
    objective = peer.objective(options, options.classes)
    return (peer.network(options), images,
            lambda out, tensors: objective.total(objective.terms(out, *tensors, *hot)), torch.optim.Adam)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, nargs=3, default=(96, 96, 96))
    parser.add_argument("--classes", type=int, default=5)
    peer.add_timing_options(parser, 1)
    peer.add_model_options(parser)
    options = parser.parse_args()
    peer.time_steps(options, make, {"loss": options.loss, "bidirectional": options.bidir})


if __name__ == "__main__":
    main()
