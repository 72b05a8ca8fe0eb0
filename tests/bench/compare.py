"""Runs `medtrain-dist bench` and the PyTorch programs of this folder in turns, on the same network, size, batch and threads,
and prints one line of JSON for each case: seconds of a step (medians over all rounds, least, most), peak resident memory,
and how they compare; PyTorch as installed and tuned, in float32 and bfloat16. A readable table goes to stderr.
    python3 compare.py vxm pose unet --program build/medtrain-dist --python /opt/torch/bin/python /usr/bin/python3
    python3 compare.py vxm_full --rounds 1 --steps 2 --precision bf16"""
import argparse
import json
import os
import statistics
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
CONFIGS = os.path.join(HERE, "..", "..", "configs")
VXM = ["data.labels=[1,2,3,4]", "train.slot_samples=1"]
# The config, what changes in it (sizes, and what the peer does not do), the peer and its size.
CASES = {
    "vxm": ("base/registration.cfg", ["data.size=[96,96,96]", *VXM], "vxm_torch.py", ["--size", "96", "96", "96"]),
    "vxm_full": ("base/registration.cfg", ["data.size=[160,192,224]", *VXM],
                 "vxm_torch.py", ["--size", "160", "192", "224"]),
    "pose": ("pose_small.cfg", ["train.slot_samples=4"], "resnet_pose_torch.py", ["--size", "64", "64", "64", "--batch", "4"]),
    "pose_128": ("pose_small.cfg", ["pose.size=[128,128,128]", "pose.spacing=[1.5,1.5,1.5]", "train.slot_samples=1"],
                 "resnet_pose_torch.py", ["--size", "128", "128", "128", "--batch", "1"]),
    "resnet_seg": ("segmentation_volumetric.cfg",
                   ["data.resample=[128,256,0]", "data.size=[0,0,32]", "train.slot_samples=2", "train.recompute=on"],
                   "resnet_seg_torch.py", ["--size", "128", "256", "32", "--batch", "2"]),
    "unet": ("segmentation_planar.cfg", ["data.size=[0,256,256]", "train.slot_samples=8", "train.memory=1.5", "augment.rotation=[]",
                                         "augment.scaling=[]", "augment.brightness=[]"],
             "unet_torch.py", ["--size", "256", "256", "--batch", "8"]),
}
SETTINGS = ("installed", "fused", "fused+channels_last", "fused+compile", "fused+channels_last+compile")


class Failure(Exception):
    pass


def run_json(options, command):
    command = [*options.through.split(), *command]
    threads = str(options.threads)
    environment = dict(os.environ, OMP_NUM_THREADS=threads, OPENBLAS_NUM_THREADS=threads)
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    if done.returncode:
        raise Failure(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def ours(options, case, precision):
    config, changes, _, _ = CASES[case]
    command = [options.program, "bench", os.path.join(CONFIGS, config), "--steps", str(options.steps), "device=cpu",
               "train.slots=1", f"train.precision={precision}", "data.shards=/nonexistent.h5", *changes, *options.set]
    found = run_json(options, command)
    return {"program": "medtrain-dist", "median": found["seconds_median"], "min": found["seconds_min"],
            "max": found["seconds_max"], "bytes": found["peak_resident_gib"] * 2 ** 30}


def peer(options, case, precision, python, more, steps=None):
    _, _, program, size = CASES[case]
    command = [python, os.path.join(HERE, program), *size, "--threads", str(options.threads), "--steps",
               str(steps or options.steps), "--warmup", "1", *(["--bf16"] if precision == "bf16" else []), *more]
    found = run_json(options, command)
    return {"program": found["program"], "setting": found["setting"], **found["seconds_per_step"],
            "bytes": found["peak_rss_bytes"], "bytes_after_import": found["peak_rss_bytes_after_import"]}


def fastest_setting(options, case, precision, python):
    """Of the tuned PyTorch, each in a process of its own: peak memory is that of one setting."""
    tried = {}
    for setting in SETTINGS:
        try:
            tried[setting] = peer(options, case, precision, python, ["--tuned", "--setting", setting], 2)["min"]
        except Failure:
            continue  # releases before 2 know neither Adam in one kernel on the CPU nor compile on this Python
    print(f"{case} {precision} {python}: {tried}", file=sys.stderr)
    return min(tried, key=tried.get)


def plan_runs(options, case):
    """name -> (what to run, its key)."""
    runs = {}
    for precision in options.precision:
        runs["ours", precision] = lambda p=precision: ours(options, case, p)
    if "fp32" not in options.precision:  # what is best may be float32
        runs["ours", "fp32"] = lambda: ours(options, case, "fp32")
    for python in options.python:
        for precision in options.precision:
            for state in options.state:
                more = ["--tuned"] if state == "tuned" else []
                if more and options.best:
                    more += ["--setting", fastest_setting(options, case, precision, python)]
                runs[python, precision, state] = lambda p=precision, y=python, m=more: peer(options, case, p, y, m)
    return runs


def summarise(rounds):
    medians = [run["median"] for run in rounds]
    return {**{key: rounds[0][key] for key in ("program", "setting") if key in rounds[0]},
            "seconds": {"median": statistics.median(medians), "min": min(run["min"] for run in rounds),
                        "max": max(run["max"] for run in rounds), "rounds": medians},
            "peak_bytes": round(statistics.median(run["bytes"] for run in rounds)),
            **{key: rounds[0][key] for key in ("bytes_after_import",) if key in rounds[0]}}


def against(mine, other):
    """How many times as fast ours is, and our share of its memory."""
    return {"times_as_fast": round(other["seconds"]["median"] / mine["seconds"]["median"], 2),
            "share_of_memory": round(mine["peak_bytes"] / other["peak_bytes"], 3)}


def compare(options, case):
    found = {}
    runs = plan_runs(options, case)
    for _ in range(options.rounds):
        for key, run in runs.items():
            found.setdefault(key, []).append(run())
            last = found[key][-1]
            print(case, *key, f"{last['median']:.3f} ({last['min']:.3f}–{last['max']:.3f}) s, {last['bytes'] / 1e9:.2f} GB",
                  file=sys.stderr, flush=True)
    summary = {key: summarise(rounds) for key, rounds in found.items()}
    mine = {key[1]: value for key, value in summary.items() if key[0] == "ours"}
    peers = []
    for key, value in summary.items():
        if key[0] == "ours":
            continue
        # Beside bfloat16 stand both of ours: convolutions with fewer multiplications are in float32.
        beside = ["fp32", "bf16"] if key[1] == "bf16" else ["fp32"]
        peers.append({"python": key[0], "precision": key[1], "state": key[2], **value,
                      "ours": {precision: against(mine[precision], value) for precision in beside}})
    return {"case": case, "threads": options.threads, "steps": options.steps, "rounds": options.rounds,
            "ours": mine, "peers": peers}


def print_table(result):
    def line(*cells):
        print("| " + " | ".join(cells) + " |", file=sys.stderr)

    def cells(value):
        seconds = value["seconds"]
        return (f"{seconds['median']:.3f} ({seconds['min']:.3f}–{seconds['max']:.3f})", f"{value['peak_bytes'] / 1e9:.2f} GB")

    line(result["case"], "precision", "seconds per step (least–most)", "memory", "ours: times as fast, share of memory")
    line(*["---"] * 5)
    for precision, value in result["ours"].items():
        line("medtrain-dist", precision, *cells(value), "")
    for value in result["peers"]:
        ratios = ", ".join(f"{precision} {ratio['times_as_fast']} ({ratio['share_of_memory']})"
                           for precision, ratio in value["ours"].items())
        setting = "" if value["setting"] == "installed" else f" {value['setting']}"
        line(f"{value['program']} {value['state']}{setting}", value["precision"], *cells(value), ratios)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="+", metavar="case", help=", ".join(CASES))
    parser.add_argument("--program", default="medtrain-dist")
    parser.add_argument("--python", nargs="+", default=[sys.executable], help="one for each PyTorch")
    parser.add_argument("--precision", nargs="+", choices=("fp32", "bf16"), default=["fp32", "bf16"])
    parser.add_argument("--state", nargs="+", choices=("installed", "tuned"), default=["installed", "tuned"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--best", action="store_true", help="tuned: in the fastest of several settings")
    parser.add_argument("--through", default="", help="a command that each measurement is an argument of, as a lock")
    parser.add_argument("--set", nargs="+", default=[], metavar="key=value", help="for the program's config")
    options = parser.parse_args()
    for case in options.cases:
        if case not in CASES:
            parser.error(f"{case}: no case; expected {', '.join(CASES)}")
    for case in options.cases:
        try:
            result = compare(options, case)
        except Failure as failure:
            sys.exit(str(failure))
        print(json.dumps(result), flush=True)
        print_table(result)


if __name__ == "__main__":
    main()
