"""Times a VoxelMorph training step (forward, losses, backward, Adam) in PyTorch; prints JSON.
    python3 vxm_torch.py --size 96 96 96 --threads 2 --steps 5 [--loss lncc] [--tuned]
    python3 vxm_torch.py --size 160 192 224 --device cuda --steps 20 [--bf16] [--best]
On the GPU --best tries what makes PyTorch fast (channels last, cudnn.benchmark, torch.compile, Adam in one kernel)
one on top of the other and prints the fastest; every setting tried is in the JSON."""
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
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--best", action="store_true", help="cuda: the fastest of several settings")
    peer.add_model_options(parser)
    return parser.parse_args()


def peak_bytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def inputs(options, channels_last):
    """Two images and their label maps; the time does not depend on what is in them."""
    import torch
    import vxm
    shape = (options.batch, 1, *options.size)
    images = [torch.rand(shape) for _ in range(2)]
    labels = [torch.randint(0, options.classes, shape) for _ in range(2)]
    if options.lam_dice:
        images += [vxm.one_hot(label, options.classes).float() for label in labels]
    memory_format = torch.channels_last_3d if channels_last else torch.contiguous_format
    return [image.to(options.device, memory_format=memory_format) for image in images]


def synchronize(options):
    import torch
    if options.device == "cuda":
        torch.cuda.synchronize()


# What is switched on, one on top of the other.
SETTINGS = ("installed", "channels_last", "cudnn_benchmark", "compile")


def measure(options, level):
    """Seconds of each step, sorted, and the last loss, with SETTINGS[:level + 1] switched on."""
    import torch
    torch.manual_seed(options.seed)
    on = SETTINGS[:level + 1]
    torch.backends.cudnn.benchmark = "cudnn_benchmark" in on
    memory_format = torch.channels_last_3d if "channels_last" in on else torch.contiguous_format
    net = peer.network(options).to(options.device, memory_format=memory_format)
    objective, tensors = peer.objective(options, options.classes), inputs(options, "channels_last" in on)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-4, fused=True if level else None)
    forward = torch.compile(net) if "compile" in on else net
    seconds, value = [], None
    for step in range(options.warmup + options.steps):
        synchronize(options)
        start = time.perf_counter()
        optimizer.zero_grad()
        with torch.autocast(options.device, dtype=torch.bfloat16, enabled=options.bf16):
            out = forward(*tensors[:2])
        loss = objective.total(objective.terms(out, *tensors))
        loss.backward()
        optimizer.step()
        value = float(loss.detach())
        if step >= options.warmup:
            seconds.append(time.perf_counter() - start)
    return sorted(seconds), value, sum(p.numel() for p in net.parameters())


def gpu_bytes(options):
    import torch
    return torch.cuda.max_memory_allocated() if options.device == "cuda" else None


def main():
    options = parse()
    if options.tuned:
        peer.restart_tuned()
    import torch
    torch.set_num_threads(options.threads)
    before = peak_bytes()
    tried = []
    for level in range(len(SETTINGS) if options.best else 1):
        if options.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        try:
            seconds, value, parameters = measure(options, level)
        except Exception as error:  # a setting this PyTorch cannot run is no result, and says so
            tried.append({"setting": SETTINGS[level], "error": str(error).splitlines()[0]})
            continue
        tried.append({"setting": SETTINGS[level], "median": seconds[len(seconds) // 2], "min": seconds[0],
                      "max": seconds[-1], "peak_gpu_bytes": gpu_bytes(options), "final_loss": value})
    fastest = min((entry for entry in tried if "median" in entry), key=lambda entry: entry["median"])
    print(json.dumps({"program": "PyTorch " + torch.__version__, "size": list(options.size),
                      "batch": options.batch, "threads": options.threads, "loss": options.loss,
                      "bidirectional": options.bidir, "bf16": options.bf16, "tuned": options.tuned,
                      "device": options.device, "setting": fastest["setting"],
                      "parameters": parameters, "steps": options.steps,
                      "seconds_per_step": {key: fastest[key] for key in ("median", "min", "max")},
                      "peak_gpu_bytes": fastest["peak_gpu_bytes"],
                      "peak_rss_bytes": peak_bytes(), "peak_rss_bytes_after_import": before,
                      "final_loss": fastest["final_loss"], "tried": tried}))


if __name__ == "__main__":
    main()
