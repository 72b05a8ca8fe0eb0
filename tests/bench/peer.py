"""What the PyTorch programs of this folder share: options, the objective, the tuned environment."""
import os
import sys

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
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tuned", action="store_true", help="with jemalloc and huge pages")


def objective(options, classes):
    import vxm
    return vxm.Objective(options.loss, options.lam_sim, options.smooth, options.lam_smooth,
                         options.smooth_scale, options.lam_dice, classes, options.dice_padding)


def network(options):
    import vxm
    return vxm.VxmDense(int_steps=options.int_steps, int_downsize=options.int_downsize,
                        bidir=options.bidir)
