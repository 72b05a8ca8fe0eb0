"""Trains the U-Net of configs/segmentation_small.cfg in PyTorch on prepared shards as the program does it (whole volumes, cross
entropy and Dice, Adam, cosine), and prints the Dice of the test split's stored volumes as JSON.
    python3 train_segmentation_torch.py data/segmentation_small/shards.h5 --steps 460"""
import argparse
import json
import math
import sys
import time

import numpy as np

import peer

TRAIN, VALIDATION, TEST = range(3)


def parse():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", help="master file of the shards")
    parser.add_argument("--steps", type=int, default=460)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--minimum-rate", type=float, default=1e-5)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--features", type=int, nargs="+", default=[16, 32, 64])
    peer.add_environment_options(parser)
    return parser.parse_args()


def rate_at(options, step):
    share = 0.5 * (1 + math.cos(math.pi * step / options.steps))
    return options.minimum_rate + (options.rate - options.minimum_rate) * share


def objective(logits, labels, classes):
    """Cross entropy, and one minus Dice of the probabilities of each sample and class with the background."""
    import torch.nn.functional as F
    hot = F.one_hot(labels, classes).movedim(-1, 1).float()
    p = logits.softmax(1)
    axes = tuple(range(2, logits.ndim))
    dice = (2 * (p * hot).sum(axes) + 1e-5) / (p.sum(axes) + hot.sum(axes) + 1e-5)
    return F.cross_entropy(logits, labels) + (1 - dice).mean()


def evaluate(net, images, labels, subjects, classes):
    import torch
    rows = []
    for i in subjects:
        with torch.no_grad():
            found = net(images[i][None, None])[0].argmax(0)
        rows.append([2 * float(((found == c) & (labels[i] == c)).sum()) /
                     float((found == c).sum() + (labels[i] == c).sum()) for c in range(1, classes)])
    return np.mean(rows, axis=0)


def main():
    options = parse()
    if options.tuned:
        peer.restart_tuned()
    import h5py
    import torch
    from segmentation import UNet
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    source = h5py.File(options.data, "r")
    images, labels, split = [np.asarray(source[name]) for name in ("image", "label", "split")]
    images, labels = torch.from_numpy(images), torch.from_numpy(labels).long()
    classes = int(labels.max()) + 1
    train, test = np.flatnonzero(split == TRAIN), np.flatnonzero(split == TEST)
    net = UNet(1, classes, options.features, "instance", 3)
    optimizer = torch.optim.Adam(net.parameters(), lr=options.rate)
    random, order, losses = np.random.default_rng(options.seed), [], []
    start = time.perf_counter()
    for step in range(options.steps):
        if len(order) < options.batch:
            order += list(random.permutation(train))
        batch, order = order[:options.batch], order[options.batch:]
        for group in optimizer.param_groups:
            group["lr"] = rate_at(options, step)
        optimizer.zero_grad()
        loss = objective(net(images[batch][:, None]), labels[batch], classes)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
        if (step + 1) % 50 == 0:
            print(f"step {step + 1}: loss {np.mean(losses[-50:]):.5f}, "
                  f"{(time.perf_counter() - start) / (step + 1):.3f} s/step", file=sys.stderr)
    seconds = time.perf_counter() - start
    dice = evaluate(net.eval(), images, labels, test, classes)
    print(json.dumps({"program": "PyTorch " + torch.__version__, "options": vars(options),
                      "training_subjects": len(train), "test_subjects": len(test),
                      "dice": dice.tolist(), "mean_dice": float(dice.mean()),
                      "seconds_per_step": seconds / max(options.steps, 1)}))


if __name__ == "__main__":
    main()
