"""Prints the numbers of tests/unit/test_optim_*.c: five steps of PyTorch's optimisers in float64 on
sum(k*w^2)/2 with k = 1, 2, 3 from w = 1, -2, 3, and PyTorch's schedules.
    python3 optim_values.py"""
import torch


def run(name, make):
    w = torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64, requires_grad=True)
    k = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    optimizer = make([w])
    for _ in range(5):
        optimizer.zero_grad()
        (k * w * w / 2).sum().backward()
        optimizer.step()
    print(name, ", ".join(f"{x:.15g}" for x in w.tolist()))


def rates(name, make, steps):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    schedule = make(optimizer)
    values = []
    for _ in range(steps):
        values.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    print(name, ", ".join(f"{x:.15g}" for x in values))


run("adam", lambda w: torch.optim.Adam(w, lr=0.1, weight_decay=0.05))
run("adam, other betas", lambda w: torch.optim.Adam(w, lr=0.1, betas=(0.8, 0.9), eps=1e-3))
run("adamw", lambda w: torch.optim.AdamW(w, lr=0.1, weight_decay=0.05))
run("sgd", lambda w: torch.optim.SGD(w, lr=0.1, weight_decay=0.05))
run("sgd momentum", lambda w: torch.optim.SGD(w, lr=0.1, momentum=0.9, weight_decay=0.05))
run("sgd nesterov", lambda w: torch.optim.SGD(w, lr=0.1, momentum=0.9, nesterov=True))
rates("cosine", lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, T_max=8, eta_min=0.1), 9)
rates("poly", lambda o: torch.optim.lr_scheduler.PolynomialLR(o, total_iters=8, power=0.9), 9)


def plateau(name, mode, scores):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, mode=mode, factor=0.3, patience=1, threshold=1e-4, min_lr=0.02)
    rates = []
    for score in scores:
        schedule.step(score)
        rates.append(optimizer.param_groups[0]["lr"])
    print(name, ", ".join(f"{x:.15g}" for x in rates))


plateau("plateau, higher is better", "max",
        [0.5, 0.50004, 0.5001, 0.50006, 0.7, 0.6, float("nan"), 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.8, 0.8, 0.8])
plateau("plateau, lower is better", "min", [10, 9.9995, 9.998, 9.997, 9.9971, 9.9972, 9.9973, 8])
