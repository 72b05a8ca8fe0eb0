"""Trains VoxelMorph in PyTorch on prepared shards (or an .npz with image, label, split) as the program does it,
and prints the test Dice before and after as JSON.
    python3 train_hippocampus_torch.py data/hippocampus.h5 --steps 2000 [--tuned]"""
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
    parser.add_argument("data", help="master file of the shards, or .npz")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--rate", type=float, default=1e-4)
    parser.add_argument("--schedule", choices=("constant", "cosine"), default="cosine")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--evaluate-every", type=int, default=0, help="steps; 0: at the end only")
    parser.add_argument("--use-validation", action="store_true", help="train on the validation subjects too")
    parser.add_argument("--save", help="where to put the trained weights (.pt)")
    peer.add_model_options(parser)
    return parser.parse_args()


def read(path):
    """image [n d h w] float32, label uint8, split uint8."""
    if path.endswith(".npz"):
        source = np.load(path)
    else:
        import h5py
        source = h5py.File(path, "r")
    return [np.asarray(source[name]) for name in ("image", "label", "split")]


# --- evaluation: nearest-neighbour warp, Dice as Learn2Reg counts it -----------------------------------
def warp_labels(labels, displacement):
    place = np.indices(labels.shape) + displacement.astype(np.float64)
    top = np.array(labels.shape).reshape(3, 1, 1, 1) - 1
    inside = ((place >= 0) & (place <= top)).all(axis=0)
    index = np.clip(np.floor(place + 0.5), 0, top).astype(int)
    return np.where(inside, labels[tuple(index)], 0)


def mean_dice(fixed, moving, warped, classes):
    values = []
    for c in range(1, classes):
        a, b = fixed == c, warped == c
        if a.any() and (moving == c).any():
            values.append(2 * (a & b).sum() / (a.sum() + b.sum()))
    return np.mean(values)


def fold_percent(displacement):
    place = displacement.astype(np.float64) + np.indices(displacement.shape[1:])
    rows = np.stack([np.stack(np.gradient(place[c])) for c in range(3)], axis=1)
    return 100 * (np.linalg.det(np.moveaxis(rows, (0, 1), (-2, -1))) <= 0).mean()


def evaluate(net, images, labels, subjects, classes):
    """Mean Dice before and after and fold percentage over neighbouring subjects (fixed i, moving i + 1)."""
    import torch
    rows = []
    for fixed, moving in zip(subjects[:-1], subjects[1:]):
        with torch.no_grad():
            u = net(images[moving][None, None], images[fixed][None, None])["displacement"][0].numpy()
        a, b = labels[fixed], labels[moving]
        rows.append((mean_dice(a, b, b, classes), mean_dice(a, b, warp_labels(b, u), classes),
                     fold_percent(u)))
    before, after, folds = np.mean(rows, axis=0)
    return {"dice_before": before, "dice_after": after, "fold_percent": folds, "pairs": len(rows)}


# --- training -------------------------------------------------------------------------------------------
def rate_at(options, step):
    if options.schedule == "constant":
        return options.rate
    return options.rate * 0.5 * (1 + math.cos(math.pi * step / options.steps))


def batch_of(random, options, subjects, images, hots):
    """moving, fixed [, their one-hot labels]: random pairs of different subjects."""
    import torch
    pairs = [random.choice(subjects, 2, replace=False) for _ in range(options.batch)]
    sides = [torch.stack([images[p[side]][None] for p in pairs]) for side in (0, 1)]
    if options.lam_dice:
        sides += [torch.stack([hots[p[side]] for p in pairs]) for side in (0, 1)]
    return sides


def main():
    options = parse()
    if options.tuned:
        peer.restart_tuned()
    import torch
    import vxm
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    images, labels, split = read(options.data)
    classes = int(labels.max()) + 1
    images = torch.from_numpy(images)
    hots = [vxm.one_hot(torch.from_numpy(x)[None, None], classes)[0].float() for x in labels]
    train = np.flatnonzero((split == TRAIN) | ((split == VALIDATION) & options.use_validation))
    test = np.flatnonzero(split == TEST)
    net, objective = peer.network(options), peer.objective(options, classes)
    optimizer = torch.optim.Adam(net.parameters(), lr=options.rate)
    random = np.random.default_rng(options.seed)
    start, history, losses = time.perf_counter(), [], []
    for step in range(options.steps):
        for group in optimizer.param_groups:
            group["lr"] = rate_at(options, step)
        tensors = batch_of(random, options, train, images, hots)
        optimizer.zero_grad()
        loss = objective.total(objective.terms(net(*tensors[:2]), *tensors))
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
        if (step + 1) % 50 == 0:
            print(f"step {step + 1}: loss {np.mean(losses[-50:]):.5f}, "
                  f"{(time.perf_counter() - start) / (step + 1):.3f} s/step", file=sys.stderr)
        if options.evaluate_every and (step + 1) % options.evaluate_every == 0:
            history.append({"step": step + 1, **evaluate(net, images, labels, test, classes)})
            print(history[-1], file=sys.stderr)
    seconds = time.perf_counter() - start
    result = evaluate(net, images, labels, test, classes)
    if options.save:
        torch.save(net.state_dict(), options.save)
    print(json.dumps({"program": "PyTorch " + torch.__version__, "options": vars(options),
                      "training_subjects": len(train), "test_subjects": len(test), **result,
                      "seconds_per_step": seconds / max(options.steps, 1),
                      "last_losses": float(np.mean(losses[-100:])) if losses else None,
                      "history": history}))


if __name__ == "__main__":
    main()
