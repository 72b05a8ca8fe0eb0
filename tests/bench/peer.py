"""What the PyTorch programs of this folder share: options, the objective, the tuned environment, timing of steps."""
import json
import os
import resource
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "golden"))
JEMALLOC = "/usr/lib/x86_64-linux-gnu/libjemalloc.so.2"


def restart_tuned():
    """Restarts this program with jemalloc and huge pages, where PyTorch is fastest: it frees and zeroes every
    large tensor anew, and glibc gives their memory back to the system each time."""
    if os.environ.get("LD_PRELOAD", "") == JEMALLOC:
        return
    if not os.path.exists(JEMALLOC):
        sys.exit(f"{JEMALLOC} is missing (Debian: libjemalloc2)")
    conf = "thp:always,dirty_decay_ms:-1,muzzy_decay_ms:-1"
    os.environ.update(LD_PRELOAD=JEMALLOC, MALLOC_CONF=conf)
    os.execv(sys.executable, [sys.executable, *sys.argv])


def add_model_options(parser):
    parser.add_argument("--loss", choices=("mse", "lncc"), default="mse")
    parser.add_argument("--smooth", choices=("bending", "compact", "l1", "l2"), default="bending")
    parser.add_argument("--lam-sim", type=float, default=1.0)
    parser.add_argument("--lam-smooth", type=float, default=1e-2)
    parser.add_argument("--lam-dice", type=float, default=2e-2)
    parser.add_argument("--smooth-scale", type=float, default=1.0, help="factor of l1 and l2 (VoxelMorph: 2)")
    parser.add_argument("--dice-padding", choices=("zeros", "border"), default="border")
    parser.add_argument("--bidir", action="store_true")
    parser.add_argument("--int-steps", type=int, default=7)
    parser.add_argument("--int-downsize", type=int, default=2)
    add_environment_options(parser)


def add_environment_options(parser):
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tuned", action="store_true", help="with jemalloc and huge pages")


def add_timing_options(parser, batch):
    parser.add_argument("--batch", type=int, default=batch)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument("--bf16", action="store_true", help="autocast to bfloat16")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--setting", default="installed", help="fused, channels_last, compile, joined by +")
    parser.add_argument("--best", action="store_true",
                        help="the fastest of several settings (peak resident memory is that of all)")


def objective(options, classes):
    import vxm
    return vxm.Objective(options.loss, options.lam_sim, options.smooth, options.lam_smooth,
                         options.smooth_scale, options.lam_dice, classes, options.dice_padding)


def network(options):
    import vxm
    return vxm.VxmDense(int_steps=options.int_steps, int_downsize=options.int_downsize,
                        bidir=options.bidir)


# --- timing ---

# What --best tries. Adam in one kernel, convolutions on channels-last tensors, cuDNN's own search, torch.compile.
SETTINGS = {"cpu": ("installed", "fused", "fused+channels_last", "fused+compile", "fused+channels_last+compile"),
            "cuda": ("installed", "fused+channels_last", "fused+channels_last+cudnn_benchmark",
                     "fused+channels_last+cudnn_benchmark+compile")}


def peak_bytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def synchronize(options):
    import torch
    if options.device == "cuda":
        torch.cuda.synchronize()


def measure(options, make, setting):
    """Seconds of each step, sorted, the last loss and the parameters. make(options) gives a network, its inputs, the
    loss of an output, and an optimizer's class."""
    import torch
    torch.manual_seed(options.seed)
    on = setting.split("+")
    torch.backends.cudnn.benchmark = "cudnn_benchmark" in on
    net, tensors, objective, optimizer = make(options)
    last = torch.channels_last if tensors[0].dim() == 4 else torch.channels_last_3d
    memory_format = last if "channels_last" in on else torch.contiguous_format
    net = net.to(options.device, memory_format=memory_format)
    tensors = [t.to(options.device, memory_format=memory_format) for t in tensors]
    optimizer = optimizer(net.parameters(), lr=1e-4, **({"fused": True} if "fused" in on else {}))
    forward = torch.compile(net) if "compile" in on else net
    seconds, value = [], None
    for step in range(options.warmup + options.steps):
        synchronize(options)
        start = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(options.device, dtype=torch.bfloat16, enabled=options.bf16):
            out = forward(*tensors)
        loss = objective(out, tensors)
        loss.backward()
        optimizer.step()
        value = float(loss.detach())
        if step >= options.warmup:
            seconds.append(time.perf_counter() - start)
    return sorted(seconds), value, sum(p.numel() for p in net.parameters())


def try_settings(options, make):
    """A row for each setting, and the number of parameters; one that this PyTorch cannot run is no result, and says so."""
    import torch
    tried, parameters = [], None
    for setting in SETTINGS[options.device] if options.best else [options.setting]:
        if options.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        try:
            seconds, value, parameters = measure(options, make, setting)
        except Exception as error:
            tried.append({"setting": setting, "error": (str(error) or repr(error)).splitlines()[0]})
            continue
        peak = torch.cuda.max_memory_allocated() if options.device == "cuda" else None
        tried.append({"setting": setting, "median": seconds[len(seconds) // 2], "min": seconds[0],
                      "max": seconds[-1], "peak_gpu_bytes": peak, "final_loss": value})
    return tried, parameters


def time_steps(options, make, more):
    """Prints one line of JSON, with what `more` has to say about the network."""
    if options.tuned:
        restart_tuned()
    import torch
    torch.set_num_threads(options.threads)
    before = peak_bytes()
    tried, parameters = try_settings(options, make)
    fastest = min((entry for entry in tried if "median" in entry), key=lambda entry: entry["median"], default=None)
    if not fastest:
        sys.exit(f"nothing ran: {tried}")
    print(json.dumps({"program": "PyTorch " + torch.__version__, "size": list(options.size),
                      "batch": options.batch, "threads": options.threads, **more, "bf16": options.bf16,
                      "tuned": options.tuned, "device": options.device, "setting": fastest["setting"],
                      "parameters": parameters, "steps": options.steps,
                      "seconds_per_step": {key: fastest[key] for key in ("median", "min", "max")},
                      "peak_gpu_bytes": fastest["peak_gpu_bytes"],
                      "peak_rss_bytes": peak_bytes(), "peak_rss_bytes_after_import": before,
                      "final_loss": fastest["final_loss"], "tried": tried}))
