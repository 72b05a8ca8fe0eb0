"""Times a VoxelMorph training step (forward, losses, backward, Adam) in PyTorch on the CPU; prints JSON.
    python3 vxm_torch.py --size 96 96 96 --threads 2 --steps 5 [--loss lncc] [--tuned]"""
import argparse
import json
import resource
import time

import peer


def parse():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, nargs=3, default=(96, 96, 96))
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument("--classes", type=int, default=5)
    parser.add_argument("--bf16", action="store_true", help="autocast to bfloat16")
    peer.add_model_options(parser)
    return parser.parse_args()


def peak_bytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def inputs(options):
    """Two images and their label maps; the time does not depend on what is in them."""
    import torch
    import vxm
    shape = (options.batch, 1, *options.size)
    images = [torch.rand(shape) for _ in range(2)]
    labels = [torch.randint(0, options.classes, shape) for _ in range(2)]
    if not options.lam_dice:
        return images
    return images + [vxm.one_hot(label, options.classes).float() for label in labels]


def main():
    options = parse()
    if options.tuned:
        peer.restart_tuned()
    import torch
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    before = peak_bytes()
    net, objective, tensors = peer.network(options), peer.objective(options, options.classes), inputs(options)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-4)
    seconds = []
    for step in range(options.warmup + options.steps):
        start = time.perf_counter()
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=options.bf16):
            out = net(*tensors[:2])
        loss = objective.total(objective.terms(out, *tensors))
        loss.backward()
        optimizer.step()
        value = float(loss.detach())
        if step >= options.warmup:
            seconds.append(time.perf_counter() - start)
    seconds.sort()
    print(json.dumps({"program": "PyTorch " + torch.__version__, "size": list(options.size),
                      "batch": options.batch, "threads": options.threads, "loss": options.loss,
                      "bidirectional": options.bidir, "bf16": options.bf16, "tuned": options.tuned,
                      "parameters": sum(p.numel() for p in net.parameters()), "steps": options.steps,
                      "seconds_per_step": {"median": seconds[len(seconds) // 2], "min": seconds[0],
                                           "max": seconds[-1]},
                      "peak_rss_bytes": peak_bytes(), "peak_rss_bytes_after_import": before,
                      "final_loss": value}))


if __name__ == "__main__":
    main()
