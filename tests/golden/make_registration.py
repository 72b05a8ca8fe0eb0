"""Makes operators.safetensors and vxm_*.safetensors with PyTorch: see README.md.
    python3 make_registration.py           (any torch >= 1.13, numpy; if MONAI is importable, its
                                            network and losses are compared with ours on the way)"""
import os

import numpy as np
import torch
import torch.nn.functional as F

import philox
import tensor_file
import vxm

FOLDER = os.path.dirname(os.path.abspath(__file__))
SEED, STEPS, CLASSES, GAIN = 20, 20, 5, 2.2
SMALL = {"encoder": (4, 8), "decoder": (8, 8, 8, 4, 4)}
SMALL_EXTENTS, FULL_EXTENTS = (12, 16, 20), (16, 32, 16)
MSE = {"sim": "mse", "lam_sim": 1.0, "smooth": "bending", "lam_smooth": 1e-2, "lam_dice": 2e-2}
LNCC = {"sim": "lncc", "lam_sim": 1.0, "smooth": "l2", "lam_smooth": 1.0, "lam_dice": 0.0}
VERSIONS = {"torch": torch.__version__, "numpy": np.__version__}


def f64(array):
    return torch.from_numpy(np.asarray(array, np.float64))


def f32(tensor):
    return tensor.detach().to(torch.float32).numpy()


def distance(a, b):
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return np.linalg.norm(a - b) / max(np.linalg.norm(b), 1e-300)


# --- inputs -----------------------------------------------------------------------------------------
def phantom(extents, deformed):
    """A smooth image, nowhere flat, and nested labels 0..4; `deformed` moves and re-colours it a little."""
    place = np.stack(np.meshgrid(*[np.arange(e) for e in extents], indexing="ij")).astype(float)
    d, h, w = (place[i] for i in range(3))
    if deformed:
        d, h, w = (d + 0.9 * np.sin(0.21 * h + 0.3) + 0.4, h + 1.1 * np.cos(0.17 * w + 0.11 * d),
                   w - 0.8 * np.sin(0.19 * d + 0.13 * h) + 0.5)
    image = (0.5 + 0.16 * np.sin(0.61 * d + 0.4) * np.cos(0.53 * h) + 0.13 * np.sin(0.47 * w + 0.3 * d)
             + 0.11 * np.cos(0.71 * h - 0.4 * w) + 0.05 * np.sin(1.1 * w + 0.9 * h - 0.8 * d))
    radius = sum(((x - (e - 1) / 2) / (0.5 * e)) ** 2 for x, e in zip((d, h, w), extents))
    labels = (radius < 0.85).astype(np.uint8) + (radius < 0.5) + (radius < 0.2)
    labels[(labels == 1) & (w > 0.55 * extents[2])] = 4
    return (image * (0.95 if deformed else 1.0)).astype(np.float32), labels.astype(np.uint8)


def pair(extents):
    fixed, fixed_labels = phantom(extents, False)
    moving, moving_labels = phantom(extents, True)
    return {"moving": moving[None, None], "fixed": fixed[None, None],
            "moving_labels": moving_labels[None, None], "fixed_labels": fixed_labels[None, None]}


def generated_weights(net):
    """Tensor i of the network: float32 of uniform(-bound, bound), bound = GAIN / sqrt(fan in), drawn from
    random_stream(SEED, RANDOM_TEST, i, 0)."""
    state, fan_in = {}, 1
    for i, (name, value) in enumerate(net.state_dict().items()):
        if value.ndim == 5:
            fan_in = value[0].numel()
        bound = GAIN / np.sqrt(float(fan_in))
        draw = philox.uniform_range(SEED, philox.RANDOM_TEST, i, 0, value.numel(), -bound, bound)
        state[name] = torch.from_numpy(draw.astype(np.float32).reshape(value.shape))
    return state


# --- one case ---------------------------------------------------------------------------------------
class Run:
    """A network of one precision on one pair."""

    def __init__(self, net, weights, inputs, objective, dtype):
        net = net()
        net.load_state_dict(weights)
        self.net, self.objective = net.to(dtype), objective
        self.images = [torch.from_numpy(inputs[k]).to(dtype) for k in ("moving", "fixed")]
        self.labels = [vxm.one_hot(torch.from_numpy(inputs[k]), CLASSES).to(dtype)
                       for k in ("moving_labels", "fixed_labels")]

    def losses(self):
        self.out = self.net(*self.images)
        terms = self.objective.terms(self.out, *self.images, *self.labels)
        return terms, self.objective.total(terms)

    def gradients(self):
        self.net.zero_grad()
        terms, total = self.losses()
        total.backward()
        values = [float(total.detach()), *(float(t.detach()) for t in terms.values())]
        return values, {n: p.grad for n, p in self.net.named_parameters()}

    def train(self, steps, rate):
        optimizer = torch.optim.Adam(self.net.parameters(), lr=rate)
        rows = []
        for _ in range(steps):
            values, _ = self.gradients()
            rows.append(values)
            optimizer.step()
        return np.array(rows)


def summary(index, value):
    """Norm and three projections on uniform(-1, 1) numbers of random_stream(SEED, RANDOM_TEST, 1000 + index, k)."""
    value = value.detach().to(torch.float64).numpy().ravel()
    axes = [philox.uniform_range(SEED, philox.RANDOM_TEST, 1000 + index, k, value.size, -1.0, 1.0)
            for k in range(3)]
    return [np.linalg.norm(value), *(float(np.dot(value, axis)) for axis in axes)]


def case(name, net, inputs, loss, rate, full, note):
    weights = generated_weights(net())
    objective = vxm.Objective(**loss)
    exact = Run(net, weights, inputs, objective, torch.float64)
    single = Run(net, weights, inputs, objective, torch.float32)
    losses, gradients = exact.gradients()
    rough_losses, rough = single.gradients()
    worst = max(distance(rough[n], gradients[n]) for n in gradients)
    reach = float(exact.out["displacement"].detach().abs().max())
    print(f"{name}: displacement up to {reach:.2f}, losses {losses}, float32 off by "
          f"{distance(rough_losses, losses):.1e}, gradients {worst:.1e}")
    tensors = dict(inputs)
    tensors["losses"] = np.array(losses)
    outputs = exact.out
    if full:  # summaries only
        names = [*outputs, *(f"gradient.{n}" for n in gradients)]
        values = [*outputs.values(), *gradients.values()]
        for i, (n, v) in enumerate(zip(names, values)):
            tensors[f"summary.{n}"] = np.array(summary(i, v))
    else:
        tensors.update({n: f32(v) for n, v in outputs.items()})
        tensors.update({f"weight.{n}": v.numpy() for n, v in weights.items()})
        tensors.update({f"gradient.{n}": f32(v) for n, v in gradients.items()})
    tensors["step_losses"] = single.train(STEPS, rate)
    tensors["step_losses_float64"] = exact.train(STEPS, rate)
    final, exact_final = single.net.state_dict(), exact.net.state_dict()
    worst = max(distance(final[n], exact_final[n]) for n in final)
    print(f"    after {STEPS} steps: losses {tensors['step_losses'][-1]}, float32 off by "
          f"{distance(tensors['step_losses'].T[0], tensors['step_losses_float64'].T[0]):.1e} (worst term "
          f"{max(map(distance, tensors['step_losses'].T, tensors['step_losses_float64'].T)):.1e}), "
          f"weights {worst:.1e}")
    for i, n in enumerate(final):
        if full:
            tensors[f"summary.final.{n}"] = np.array(summary(500 + i, final[n]))
        else:
            tensors[f"final.{n}"] = final[n].numpy()
    metadata = {"note": note, "loss": loss, "learning_rate": rate, "seed": SEED, "gain": GAIN, **VERSIONS}
    tensor_file.write(f"{FOLDER}/{name}.safetensors", tensors, metadata)


def make_networks():
    small, full = pair(SMALL_EXTENTS), pair(FULL_EXTENTS)
    mse, lncc = {**MSE, "classes": CLASSES}, {**LNCC, "smooth_scale": 2.0}
    for bidir in (False, True):
        suffix = "_bidir" if bidir else ""

        def net(bidir=bidir, **options):
            return lambda: vxm.VxmDense(**{**SMALL, "bidir": bidir, **options})
        note = f"encoder {SMALL['encoder']}, decoder {SMALL['decoder']}, bidirectional: {bidir}"
        case(f"vxm_mse{suffix}", net(), small, mse, 1e-4, False, note)
        case(f"vxm_lncc{suffix}", net(), small, lncc, 1e-4, False, note)
        if bidir:
            case("vxm_int0", net(int_steps=0), small, mse, 1e-4, False, note + ", int_steps 0")
            case("vxm_down1", net(int_downsize=1), small, mse, 1e-4, False, note + ", int_downsize 1")
    case("vxm_monai", lambda: vxm.MonaiVoxelMorph((4, 8, 8, 8), 8, (4, 4)), small, mse, 1e-4, False,
         "MONAI's network: channels (4, 8, 8, 8), unet_out_channels 8, final_conv_channels (4, 4)")
    case("vxm_full_mse", lambda: vxm.VxmDense(), full, mse, 1e-4, True, "the default network, 327,331")
    case("vxm_full_lncc_bidir", lambda: vxm.VxmDense(bidir=True), full, lncc, 1e-4, True,
         "the default network, 327,331, bidirectional")
    case("vxm_full_monai", lambda: vxm.MonaiVoxelMorph(), full, mse, 1e-4, True,
         "MONAI's default network, 244,323")


# --- operators --------------------------------------------------------------------------------------
class Operators:
    """Collects NAME.x0, NAME.x1 ... (inputs, float32 or uint8), NAME.dy, NAME.y, NAME.dx0 ...; losses have no dy."""

    def __init__(self):
        self.tensors, self.stream = {}, 0

    def draw(self, *shape, low=-1.0, high=1.0):
        self.stream += 1
        count = int(np.prod(shape))
        draw = philox.uniform_range(SEED, philox.RANDOM_TEST, 5000 + self.stream, 0, count, low, high)
        return draw.astype(np.float32).reshape(shape)

    def add(self, name, function, *inputs):
        x = [f64(v).requires_grad_(v.dtype == np.float32) for v in inputs]
        y = function(*x)
        for i, v in enumerate(inputs):
            self.tensors[f"{name}.x{i}"] = v
        if y.ndim == 0:
            dy = torch.ones((), dtype=torch.float64)
            self.tensors[f"{name}.y"] = y.detach().numpy().reshape(1)
        else:
            rounded = self.draw(*y.shape)
            dy = f64(rounded)
            self.tensors[f"{name}.dy"], self.tensors[f"{name}.y"] = rounded, f32(y)
        y.backward(dy)
        for i, v in enumerate(x):
            if v.requires_grad and v.grad is not None:
                self.tensors[f"{name}.dx{i}"] = f32(v.grad)


def add_spatial(ops):
    image, field = ops.draw(2, 3, 5, 6, 7), ops.draw(2, 3, 5, 6, 7, low=-2.5, high=2.5)
    ops.add("warp_zeros", lambda x, u: vxm.warp(x, u), image, field)
    ops.add("warp_border", lambda x, u: vxm.warp(x, u, padding="border"), image, field)
    ops.add("warp_nearest", lambda x, u: vxm.warp(x, u, mode="nearest"), image, field)
    velocity = ops.draw(2, 3, 6, 5, 7, low=-1.5, high=1.5)
    for steps in (1, 7):
        ops.add(f"integrate_{steps}", lambda v, s=steps: vxm.integrate(v, s), velocity)
    ops.add("integrate_border", lambda v: vxm.integrate(v, 5, padding="border"), velocity)
    coarse, fine = ops.draw(2, 3, 4, 3, 5), ops.draw(2, 3, 8, 6, 10)

    def linear(x, factor):
        return F.interpolate(x, scale_factor=factor, mode="trilinear", align_corners=True)
    ops.add("resize_linear_up", lambda x: linear(x, 2), coarse)
    ops.add("resize_linear_down", lambda x: linear(x, 0.5), fine)
    ops.add("resize_displacement_up", lambda x: vxm.resize(x, 2), coarse)
    ops.add("resize_displacement_down", lambda x: vxm.resize(x, 0.5), fine)
    ops.add("resize_linear_odd", lambda x: F.interpolate(x, size=(7, 4, 9), mode="trilinear",
                                                         align_corners=True), coarse)
    ops.add("resize_nearest_up", lambda x: F.interpolate(x, scale_factor=2, mode="nearest"), coarse)


def add_layers(ops):
    wide = ops.draw(2, 18, 6, 4, 8)
    ops.add("max_pool", lambda x: F.max_pool3d(x, 2), wide)
    ops.add("leaky_relu", lambda x: F.leaky_relu(x, 0.2), wide)
    shapes = {"conv_3": (18, 5, 3, 1, 1), "conv_3_wide": (17, 33, 3, 1, 1), "conv_stride2": (3, 17, 3, 2, 1),
              "conv_1": (16, 3, 1, 1, 0), "conv_2_stride2": (4, 16, 2, 2, 0), "conv_first": (2, 16, 3, 1, 1),
              "conv_last": (16, 3, 3, 1, 1)}
    for name, (inputs, outputs, size, stride, pad) in shapes.items():
        bound = 1 / np.sqrt(inputs * size ** 3)
        ops.add(name, lambda x, w, b, s=stride, p=pad: F.conv3d(x, w, b, stride=s, padding=p),
                ops.draw(2, inputs, 6, 5, 7) if outputs < 33 else ops.draw(1, inputs, 6, 5, 7),
                ops.draw(outputs, inputs, size, size, size, low=-bound, high=bound),
                ops.draw(outputs, low=-bound, high=bound))
    ops.add("conv_anisotropic", lambda x, w, b: F.conv3d(x, w, b, stride=(1, 2, 2), padding=(0, 1, 1)),
            ops.draw(2, 5, 3, 8, 9), ops.draw(6, 5, 1, 3, 3, low=-0.2, high=0.2), ops.draw(6))


def add_losses(ops):
    a, b = ops.draw(2, 1, 10, 12, 11, low=0), ops.draw(2, 1, 10, 12, 11, low=0)
    b = (0.6 * a + 0.4 * b).astype(np.float32)
    ops.add("mse", vxm.mse, a, b)
    for window in (3, 5, 9):
        ops.add(f"lncc_{window}", lambda x, y, w=window: vxm.ncc(x, y, w), a, b)
    ops.add("lncc_monai_3", lambda x, y: vxm.monai_lncc(x, y, 3), a, b)
    field = ops.draw(2, 3, 7, 6, 8)
    ops.add("grad_l1", lambda u: vxm.grad(u, "l1"), field)
    ops.add("grad_l2", lambda u: vxm.grad(u, "l2"), field)
    ops.add("bending", vxm.bending, field)
    ops.add("bending_compact", vxm.bending_compact, field)
    labels = [np.stack([phantom((7, 6, 8), k)[1][None] for k in order])
              for order in ((True, False), (False, True))]
    small = ops.draw(2, 3, 7, 6, 8, low=-1.8, high=1.8)

    def warped(moving, fixed, u, padding="zeros"):
        hot = vxm.one_hot(moving, CLASSES).double()
        return vxm.warp(hot, u, padding=padding), vxm.one_hot(fixed, CLASSES).double()
    ops.add("dice_warp", lambda m, f, u: vxm.dice(*warped(m, f, u)), *labels, small)
    ops.add("dice_warp_background", lambda m, f, u: vxm.dice(*warped(m, f, u), True), *labels, small)
    ops.add("dice_warp_vxm", lambda m, f, u: vxm.dice_vxm(*warped(m, f, u)), *labels, small)
    ops.add("dice_warp_border", lambda m, f, u: vxm.dice(*warped(m, f, u, "border")), *labels, small)
    ops.add("diffusion", vxm.diffusion, field)


def make_operators():
    ops = Operators()
    add_spatial(ops)
    add_layers(ops)
    add_losses(ops)
    tensor_file.write(f"{FOLDER}/operators.safetensors", ops.tensors, {"seed": SEED, **VERSIONS})


def compare_with_monai():
    try:
        import warnings
        warnings.simplefilter("ignore")
        import monai
        from monai.losses import BendingEnergyLoss, DiceLoss, DiffusionLoss
        from monai.losses import LocalNormalizedCrossCorrelationLoss
        from monai.networks.nets.voxelmorph import VoxelMorph
    except ImportError as error:
        print(f"not compared with MONAI: {error}")
        return
    VERSIONS["monai"] = monai.__version__
    ours, theirs = vxm.MonaiVoxelMorph(), VoxelMorph()
    theirs.backbone.load_state_dict(ours.state_dict())
    images = [torch.rand(2, 1, 16, 16, 24) for _ in range(2)]
    out, (warped, field) = ours(*images), theirs(*images)
    assert torch.equal(out["warped"], warped) and torch.equal(out["displacement"], field)
    u = torch.randn(2, 3, 7, 8, 9, dtype=torch.float64)
    recent = tuple(int(part) for part in monai.__version__.split(".")[:2]) >= (1, 6)
    bending = vxm.bending_compact if recent else vxm.bending  # MONAI 1.6 changed its stencil
    torch.testing.assert_close(BendingEnergyLoss()(u), bending(u))
    torch.testing.assert_close(DiffusionLoss()(u), vxm.diffusion(u))
    p = torch.rand(2, 4, 5, 6, 7, dtype=torch.float64)
    t = vxm.one_hot(torch.randint(0, 4, (2, 1, 5, 6, 7)), 4).double()
    torch.testing.assert_close(DiceLoss(include_background=False)(p, t), vxm.dice(p, t))
    a, b = torch.rand(2, 2, 1, 9, 8, 7, dtype=torch.float64)
    lncc = LocalNormalizedCrossCorrelationLoss(kernel_size=3)
    torch.testing.assert_close(lncc(a, b), vxm.monai_lncc(a, b))
    print(f"network, bending, diffusion, Dice and LNCC agree with MONAI {monai.__version__}")


if __name__ == "__main__":
    torch.manual_seed(1)
    compare_with_monai()
    make_operators()
    make_networks()
