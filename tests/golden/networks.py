"""What the golden files of whole networks have in common: generated weights, training in float64 and
float32, and what is stored of it."""
import os

import numpy as np
import torch

import philox
import tensor_file

FOLDER = os.path.dirname(os.path.abspath(__file__))
SEED, STEPS, GAIN, RATE = 20, 20, 1.5, 1e-5
VERSIONS = {"torch": torch.__version__, "numpy": np.__version__}


def draw(stream, *shape, low=-1.0, high=1.0):
    count = int(np.prod(shape))
    return philox.uniform_range(SEED, philox.RANDOM_TEST, stream, 0, count, low, high).astype(np.float32).reshape(shape)


def generated(net):
    """Parameter i: weights of layers uniform in +-GAIN / sqrt(fan in); of norms 1 + 0.3 u, biases 0.3 u."""
    state = net.state_dict()
    for i, (name, value) in enumerate(net.named_parameters()):
        u = torch.from_numpy(draw(i, *value.shape))
        if value.ndim > 1:
            bound = GAIN / np.sqrt(float(value[0].numel()))
            state[name] = torch.from_numpy(draw(i, *value.shape, low=-bound, high=bound))
        else:
            state[name] = (1 if name.endswith("weight") else 0) + np.float32(0.3) * u
    return state


def summary(index, value):
    value = value.detach().to(torch.float64).numpy().ravel()
    axes = [philox.uniform_range(SEED, philox.RANDOM_TEST, 1000 + index, k, value.size, -1.0, 1.0) for k in range(3)]
    return np.array([np.linalg.norm(value), *(float(np.dot(value, axis)) for axis in axes)])


def distance(a, b):
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return np.linalg.norm(a - b) / max(np.linalg.norm(b), 1e-300)


class Run:
    def __init__(self, make, state, image, loss, dtype, steps):
        self.net = make()
        self.net.load_state_dict(state)
        self.net.to(dtype)
        self.image, self.loss, self.steps = torch.from_numpy(image).to(dtype), loss, steps

    def step(self):
        self.net.zero_grad()
        self.out = self.net(self.image)
        loss = self.loss(self.out)
        loss.backward()
        return float(loss.detach())

    def train(self):
        optimizer = torch.optim.Adam(self.net.parameters(), lr=RATE)
        losses = []
        for _ in range(self.steps):
            losses.append(self.step())
            optimizer.step()
        return np.array(losses)


def case(name, make, image, loss, keep, keep_output, more, steps=STEPS):
    """`loss` of the network's output; keep(index, tensor) is what is stored of a tensor; `more`: further tensors."""
    state = generated(make())
    exact, single = (Run(make, state, image, loss, dtype, steps) for dtype in (torch.float64, torch.float32))
    first = exact.step()
    single.step()
    gradients = {n: p.grad.clone() for n, p in exact.net.named_parameters()}
    rough = {n: p.grad.clone() for n, p in single.net.named_parameters()}
    print(f"{name}: {sum(p.numel() for p in exact.net.parameters())} parameters, loss {first:.6f}, float32 gradients off by",
          f"{max(distance(rough[n], gradients[n]) for n in gradients):.1e}, output by",
          f"{distance(single.out.detach(), exact.out.detach()):.1e}")
    output = exact.out.detach()
    for run in (exact, single):  # the step above has moved the running statistics
        run.net.load_state_dict(state)
    losses, rough_losses = exact.train(), single.train()
    evaluated = exact.net.eval()(exact.image).detach()
    final = {n: v for n, v in exact.net.state_dict().items() if "num_batches" not in n}
    worst = max(distance(single.net.state_dict()[n], final[n]) for n in final)
    print(f"    {steps} steps: {losses[0]:.5f} to {losses[-1]:.5f}, float32 off by",
          f"{distance(rough_losses, losses):.1e}, state {worst:.1e}, evaluated by",
          f"{distance(single.net.eval()(single.image).detach(), evaluated):.1e}")
    tensors = {**more, "output": keep_output(900, output), "step_losses": losses, "evaluated": keep_output(901, evaluated)}
    for i, (n, value) in enumerate(gradients.items()):
        tensors[f"gradient.{n}"] = keep(i, value)
    for i, (n, value) in enumerate(final.items()):
        tensors[f"final.{n}"] = keep(500 + i, value)
    tensor_file.write(f"{FOLDER}/{name}.safetensors", tensors, {"seed": SEED, "gain": GAIN, "rate": RATE, **VERSIONS})


def whole(index, value):
    return value.to(torch.float32).numpy()
