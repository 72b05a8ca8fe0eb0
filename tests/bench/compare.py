"""Runs `medtrain-dist bench` and a peer of this folder in turns, on the same size and threads, and prints the seconds of a
step of each (the median of all rounds) and how many times as fast the program is; peers as installed and tuned.
    python3 compare.py resnet_seg --program build/medtrain-dist --python python3 --rounds 3 --threads 2
    python3 compare.py unet --program build/medtrain-dist"""
import argparse
import json
import os
import statistics
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
CONFIGS = os.path.join(HERE, "..", "..", "configs")
# The config, what changes in it (sizes, and what the peer does not do), the peer and its size.
PAIRS = {
    "resnet_seg": ("segmentation_volumetric.cfg",
                   ["data.resample=[128,256,0]", "data.size=[0,0,32]", "train.slot_samples=2"],
                   "resnet_seg_torch.py", ["--size", "128", "256", "32", "--batch", "2"]),
    "unet": ("segmentation_planar.cfg", ["data.size=[0,256,256]", "train.slot_samples=8"],
             "unet_torch.py", ["--size", "256", "256", "--batch", "8"]),
}


def last_json(command, environment):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: {done.stderr or done.stdout}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def ours(options):
    config, changes, _, _ = PAIRS[options.pair]
    command = [options.program, "bench", os.path.join(CONFIGS, config), "--steps", str(options.steps), "device=cpu",
               "train.slots=1", f"train.precision={'bf16' if options.bf16 else 'fp32'}",
               "data.shards=/nonexistent.h5", *changes, *options.set]
    environment = dict(os.environ, OMP_NUM_THREADS=str(options.threads))
    return last_json(command, environment)["seconds_median"]


def peer(options, more):
    _, _, program, size = PAIRS[options.pair]
    command = [options.python, os.path.join(HERE, program), *size, "--threads", str(options.threads), "--steps",
               str(options.steps), "--warmup", "1", *(["--bf16"] if options.bf16 else []), *more]
    return last_json(command, None)["seconds_per_step"]["median"]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pair", choices=PAIRS)
    parser.add_argument("--program", default="medtrain-dist")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--best", action="store_true", help="tuned: also the fastest of several settings")
    parser.add_argument("set", nargs="*", help="key=value for the program's config")
    options = parser.parse_args()
    runs = {"ours": lambda: ours(options), "installed": lambda: peer(options, []),
            "tuned": lambda: peer(options, ["--tuned"] + (["--best"] if options.best else []))}
    seconds = {name: [] for name in runs}
    for _ in range(options.rounds):
        for name, run in runs.items():
            seconds[name].append(run())
    median = {name: statistics.median(values) for name, values in seconds.items()}
    print(json.dumps({"pair": options.pair, "threads": options.threads, "bf16": options.bf16, "seconds": median,
                      "times_as_fast_as": {name: round(median[name] / median["ours"], 2)
                                           for name in ("installed", "tuned")}, "all": seconds}))


if __name__ == "__main__":
    main()
