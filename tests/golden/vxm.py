"""VoxelMorph in PyTorch, written from its published definition: the network with the parameter names of
the official PyTorch package (VxmDense) and of MONAI (VoxelMorphUNet), the spatial layers, the losses.
The oracle of the golden files and of tests/bench. Displacements are in voxels, channel c along axis c."""
import torch
import torch.nn as nn
import torch.nn.functional as F

ENCODER = (16, 32, 32, 32)
DECODER = (32, 32, 32, 32, 32, 16, 16)


# --- spatial layers -------------------------------------------------------------------------------
def identity_grid(extents, dtype=torch.float32):
    axes = [torch.arange(extent, dtype=dtype) for extent in extents]
    return torch.stack(torch.meshgrid(*axes, indexing="ij")).unsqueeze(0)


_grids = {}


def warp(image, displacement, mode="bilinear", padding="zeros"):
    """y(x) = image(x + u(x)); image [n c d h w], displacement [n 3 d h w]."""
    extents = tuple(displacement.shape[2:])
    wide = displacement.dtype if displacement.dtype == torch.float64 else torch.float32  # bfloat16 has no 160.5
    key = (extents, wide, displacement.device)
    if key not in _grids:
        _grids[key] = identity_grid(extents, wide).to(displacement.device)
    place = _grids[key] + displacement
    scaled = [2 * (place[:, c] / (image.shape[2 + c] - 1) - 0.5) for c in (2, 1, 0)]
    return F.grid_sample(image, torch.stack(scaled, dim=-1), mode=mode, padding_mode=padding,
                         align_corners=True)


def integrate(velocity, steps, padding="zeros"):
    """Scaling and squaring."""
    u = velocity / 2 ** steps
    for _ in range(steps):
        u = u + warp(u, u, padding=padding)
    return u


def resize(field, factor):
    """A displacement on another grid: its values change with the grid's spacing."""
    if factor < 1:
        return factor * F.interpolate(field, scale_factor=factor, mode="trilinear",
                                      align_corners=True)
    return F.interpolate(factor * field, scale_factor=factor, mode="trilinear", align_corners=True)


# --- networks -------------------------------------------------------------------------------------
class ConvBlock(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.main = nn.Conv3d(inputs, outputs, 3, padding=1)

    def forward(self, x):
        return F.leaky_relu(self.main(x), 0.2)


class Unet(nn.Module):
    def __init__(self, encoder, decoder):
        super().__init__()
        self.encoder, self.decoder, self.remaining = (nn.ModuleList() for _ in range(3))
        features, skips = 2, [2]
        for outputs in encoder:
            self.encoder.append(nn.ModuleList([ConvBlock(features, outputs)]))
            features = outputs
            skips.append(features)
        for outputs in decoder[:len(encoder)]:
            self.decoder.append(nn.ModuleList([ConvBlock(features, outputs)]))
            features = outputs + skips.pop()
        for outputs in decoder[len(encoder):]:
            self.remaining.append(ConvBlock(features, outputs))
            features = outputs
        self.features = features

    def forward(self, x):
        skips = []
        for (block,) in self.encoder:
            x = block(x)
            skips.append(x)
            x = F.max_pool3d(x, 2)
        for (block,) in self.decoder:
            x = F.interpolate(block(x), scale_factor=2, mode="nearest")
            x = torch.cat([x, skips.pop()], dim=1)
        for block in self.remaining:
            x = block(x)
        return x


class VxmDense(nn.Module):
    """forward(moving, fixed) -> dict: warped, preint_flow, displacement and, when bidirectional,
    warped_fixed, inverse_displacement."""

    def __init__(self, encoder=ENCODER, decoder=DECODER, int_steps=7, int_downsize=2, bidir=False):
        super().__init__()
        self.unet_model = Unet(encoder, decoder)
        self.flow = nn.Conv3d(self.unet_model.features, 3, 3, padding=1)
        nn.init.normal_(self.flow.weight, 0, 1e-5)
        nn.init.zeros_(self.flow.bias)
        self.int_steps, self.int_downsize, self.bidir = int_steps, int_downsize, bidir

    def expand(self, flow):
        if self.int_steps == 0:
            return flow
        flow = integrate(flow, self.int_steps)
        return resize(flow, self.int_downsize) if self.int_downsize > 1 else flow

    def forward(self, moving, fixed):
        flow = self.flow(self.unet_model(torch.cat([moving, fixed], dim=1)))
        if self.int_steps > 0 and self.int_downsize > 1:
            flow = resize(flow, 1 / self.int_downsize)
        out = {"preint_flow": flow, "displacement": self.expand(flow)}
        out["warped"] = warp(moving, out["displacement"])
        if self.bidir:
            out["inverse_displacement"] = self.expand(-flow)
            out["warped_fixed"] = warp(fixed, out["inverse_displacement"])
        return out


class MonaiConv(nn.Module):
    def __init__(self, inputs, outputs, activation=True):
        super().__init__()
        self.conv = nn.Conv3d(inputs, outputs, 3, padding=1)
        self.activation = activation

    def forward(self, x):
        x = self.conv(x)
        return F.leaky_relu(x, 0.2) if self.activation else x


class Skip(nn.Module):
    def __init__(self, submodule):
        super().__init__()
        self.submodule = submodule

    def forward(self, x):
        return torch.cat([x, self.submodule(x)], dim=1)  # the skip comes first, unlike in VxmDense


def monai_level(inputs, outputs, features, top):
    """A level of MONAI's U-Net: pool (but not at the top), conv, [deeper levels and skip], conv, upsample."""
    down = MonaiConv(inputs, features[0])
    if not top:
        down = nn.Sequential(nn.MaxPool3d(2), down)
    if len(features) == 2:
        bottom = nn.Sequential(nn.MaxPool3d(2), MonaiConv(features[0], features[1]))
        inner = nn.Sequential(bottom, nn.Upsample(scale_factor=2))
    else:
        inner = monai_level(features[0], features[1], features[2:], False)
    up = MonaiConv(features[0] + features[1], outputs)
    if not top:
        up = nn.Sequential(up, nn.Upsample(scale_factor=2))
    return nn.Sequential(down, Skip(inner), up)


class MonaiVoxelMorph(nn.Module):
    """MONAI's VoxelMorphUNet with VoxelMorph's pipeline at full resolution (half_res=False)."""

    def __init__(self, features=(16, 32, 32, 32, 32, 32), outputs=32, final=(16, 16), int_steps=7,
                 bidir=False):
        super().__init__()
        last = nn.Sequential()
        channels = [outputs, *final]
        for i in range(len(final)):
            last.add_module(f"final_conv_{i}", MonaiConv(channels[i], channels[i + 1]))
        last.add_module("final_conv_out", MonaiConv(channels[-1], 3, activation=False))
        self.net = nn.Sequential(monai_level(2, outputs, features, True), last)
        self.int_steps, self.bidir = int_steps, bidir

    def forward(self, moving, fixed):
        flow = self.net(torch.cat([moving, fixed], dim=1))
        out = {"preint_flow": flow, "displacement": integrate(flow, self.int_steps)}
        out["warped"] = warp(moving, out["displacement"])
        if self.bidir:
            out["inverse_displacement"] = integrate(-flow, self.int_steps)
            out["warped_fixed"] = warp(fixed, out["inverse_displacement"])
        return out


# --- losses ---------------------------------------------------------------------------------------
def mse(a, b):
    return ((a - b) ** 2).mean()


def ncc(a, b, window=9):
    """VoxelMorph's squared local correlation: zero padding, window volume counted whole at the border too."""
    kernel = torch.ones(1, 1, window, window, window, dtype=a.dtype, device=a.device)
    count = window ** 3

    def box(x):
        return F.conv3d(x, kernel, padding=window // 2)

    a_sum, b_sum, aa, bb, ab = box(a), box(b), box(a * a), box(b * b), box(a * b)
    cross = ab - a_sum * b_sum / count
    a_var = aa - a_sum * a_sum / count
    b_var = bb - b_sum * b_sum / count
    return -(cross * cross / (a_var * b_var + 1e-5)).mean()


def grad(field, penalty="l2", scale=1.0):
    """VoxelMorph's gradient loss: forward differences, mean per axis, mean of the axes."""
    parts = []
    for axis in (2, 3, 4):
        difference = field.diff(dim=axis).abs()
        parts.append((difference * difference if penalty == "l2" else difference).mean())
    return scale * sum(parts) / 3


def central(x, axis):
    """(x[i+1] - x[i-1]) / 2 along one axis; one voxel is cut from both ends of all three."""
    cut = {2: slice(1, -1), 3: slice(1, -1), 4: slice(1, -1)}
    high = [slice(None), slice(None)] + [slice(2, None) if a == axis else cut[a] for a in (2, 3, 4)]
    low = [slice(None), slice(None)] + [slice(None, -2) if a == axis else cut[a] for a in (2, 3, 4)]
    return (x[tuple(high)] - x[tuple(low)]) / 2


def bending(field):
    """MONAI's BendingEnergyLoss: central differences taken twice."""
    first = {axis: central(field, axis) for axis in (2, 3, 4)}
    energy = sum(central(first[axis], axis) ** 2 for axis in (2, 3, 4))
    energy = energy + sum(2 * central(first[a], b) ** 2 for a, b in ((2, 3), (2, 4), (3, 4)))
    return energy.mean()


def diffusion(field):
    """MONAI's DiffusionLoss."""
    return sum(central(field, axis) ** 2 for axis in (2, 3, 4)).mean()


def bending_compact(field):
    """Bending energy with u[i+1] - 2u[i] + u[i-1] for the pure second differences; interior voxels only."""
    inner = field[:, :, 1:-1, 1:-1, 1:-1]
    energy = 0
    for axis in (2, 3, 4):
        high, low = [slice(1, -1)] * 3, [slice(1, -1)] * 3
        high[axis - 2], low[axis - 2] = slice(2, None), slice(None, -2)
        pure = field[(slice(None), slice(None), *high)] - 2 * inner + field[(slice(None), slice(None), *low)]
        energy = energy + pure ** 2
    for a, b in ((2, 3), (2, 4), (3, 4)):
        energy = energy + 2 * mixed(field, a - 2, b - 2) ** 2
    return energy.mean()


def mixed(field, a, b):
    """(u[++] - u[+-] - u[-+] + u[--]) / 4 at the interior voxels."""
    def at(i, j):
        place = [slice(1, -1)] * 3
        place[a], place[b] = (slice(2, None) if s > 0 else slice(None, -2) for s in (i, j))
        return field[(slice(None), slice(None), *place)]
    return (at(1, 1) - at(1, -1) - at(-1, 1) + at(-1, -1)) / 4


def one_hot(labels, classes):
    """[n 1 d h w] integers -> [n classes d h w]."""
    return F.one_hot(labels[:, 0].long(), classes).movedim(-1, 1)


def dice(p, t, background=False, eps=1e-5):
    """MONAI's DiceLoss: 1 - (2 sum pt + eps) / (sum p + sum t + eps), mean over samples and classes."""
    if not background:
        p, t = p[:, 1:], t[:, 1:]
    axes = (2, 3, 4)
    ratio = (2 * (p * t).sum(axes) + eps) / (p.sum(axes) + t.sum(axes) + eps)
    return (1 - ratio).mean()


def dice_vxm(p, t):
    """VoxelMorph's Dice loss: minus the mean over samples and channels, denominator at least 1e-5."""
    axes = (2, 3, 4)
    return -(2 * (p * t).sum(axes) / (p + t).sum(axes).clamp(min=1e-5)).mean()


def monai_lncc(a, b, window=3):
    """MONAI's LocalNormalizedCrossCorrelationLoss, rectangular kernel: clamped variances."""
    kernel = torch.ones(1, 1, window, window, window, dtype=a.dtype, device=a.device)
    count = window ** 3

    def box(x):
        return F.conv3d(x, kernel, padding=window // 2)

    a_sum, b_sum, aa, bb, ab = box(a), box(b), box(a * a), box(b * b), box(a * b)
    cross = ab - a_sum * b_sum / count
    a_var = (aa - a_sum * a_sum / count).clamp(min=1e-5)
    b_var = (bb - b_sum * b_sum / count).clamp(min=1e-5)
    return -(cross * cross / (a_var * b_var)).mean()


SMOOTH = {"l1": lambda f, m: grad(f, "l1", m), "l2": lambda f, m: grad(f, "l2", m),
          "bending": lambda f, m: bending(f), "compact": lambda f, m: bending_compact(f)}
SIMILARITY = {"mse": mse, "lncc": ncc}


class Objective:
    """The weighted loss terms of a training step: the similarity and Dice of both directions count half."""

    def __init__(self, sim="mse", lam_sim=1.0, smooth="bending", lam_smooth=1e-2, smooth_scale=1.0,
                 lam_dice=2e-2, classes=0, dice_padding="zeros"):
        self.similarity, self.lam_sim, self.padding = SIMILARITY[sim], lam_sim, dice_padding
        self.smooth, self.lam_smooth, self.scale = SMOOTH[smooth], lam_smooth, smooth_scale
        self.lam_dice, self.classes = lam_dice, classes

    def terms(self, out, moving, fixed, moving_hot=None, fixed_hot=None):
        """Unweighted terms by name; *_hot: one-hot labels [n classes d h w] for the Dice term."""
        pairs = [(moving, fixed, moving_hot, fixed_hot, "displacement", "warped")]
        if "warped_fixed" in out:
            pairs.append((fixed, moving, fixed_hot, moving_hot, "inverse_displacement",
                          "warped_fixed"))
        share = 1 / len(pairs)
        terms = {"sim": sum(share * self.similarity(out[warped], target)
                            for _, target, _, _, _, warped in pairs),
                 "smooth": self.smooth(out["preint_flow"], self.scale)}
        if self.lam_dice:
            terms["dice"] = sum(share * dice(warp(hot, out[field], padding=self.padding), target)
                                for _, _, hot, target, field, _ in pairs)
        return terms

    def total(self, terms):
        total = self.lam_sim * terms["sim"] + self.lam_smooth * terms["smooth"]
        return total + self.lam_dice * terms["dice"] if "dice" in terms else total
