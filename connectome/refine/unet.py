"""A small U-Net that learns from a stack's own labels, and from what a person corrected.

It sees a section with its neighbours, where the classical evidence sees one section or one small
neighbourhood, and corrects the evidence. It starts from weights learned on phantoms, and goes on
to learn from the labels of a stack, where the evidence agrees with them (pseudo-labels, Lee 2013),
and from proofread sections above all. How rounds of that follow each other, `selftrain` decides.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from connectome.core.errors import DataError, UsageError
from connectome.core.progress import Progress, ignore_progress
from connectome.core.volume import has_thin_sections, nearest_sound_sections
from connectome.io.model_files import TRAIN_REMEDY
from connectome.membranes.features import standardise_sections
from connectome.refine.data import TrainingStack, mask_interiors
from connectome.refine.orthoviews import View, Window, orthogonal_views

KIND = "unet"
NEIGHBOURS = 2  # planes seen on either side
CHANNELS = [*(f"plane {n:+d}" for n in range(-NEIGHBOURS, NEIGHBOURS + 1)), "evidence"]
WIDTH, DEPTH = 8, 4  # channels at the finest of so many levels, doubled at each next
OUTLIER = 4.0  # standard deviations: what lies further out says no more
LEAST_EVIDENCE = 0.02  # nor does evidence nearer to 0 or 1

PATCH, BATCH = 128, 8
WEIGHT_DECAY = 1e-4
ADAPTING = 40  # batches that a network sees of a stack to adapt to it
PROOFREAD_WEIGHT = 4.0  # against 1 of the surest pseudo-label

LARGEST = float(np.finfo(np.float32).max)  # no weight lies beyond, nor is NaN

TILE, MARGIN = 512, 48  # pixels: looked at together, and how far a pixel's judgement reaches
TURNS = (0, 3, 5, 6)  # of the eight ways to lay a plane: looked at in these, and averaged

# The network ------------------------------------------------------------------------------------


class UNet(nn.Module):
    """U-Net (Ronneberger et al. 2015) that corrects the evidence: untrained, it returns it."""

    def __init__(self):
        super().__init__()
        widths = [WIDTH * 2**level for level in range(DEPTH)]
        inputs = [len(CHANNELS), *widths]
        self.down = nn.ModuleList(map(_block, inputs, widths))
        self.up = nn.ModuleList(_block(a + b, a) for a, b in pairwise(widths))
        self.out = nn.Conv2d(WIDTH, 1, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, seen: torch.Tensor) -> torch.Tensor:
        """Take (B, channels, H, W), H and W multiples of 8, to logits (B, 1, H, W)."""
        passed, x = [], seen
        for level, block in enumerate(self.down):
            x = block(functional.max_pool2d(x, 2) if level else x)
            passed.append(x)
        passed.pop()
        for block in reversed(self.up):
            x = block(torch.cat([functional.interpolate(x, scale_factor=2.0), passed.pop()], 1))
        return self.out(x) + seen[:, -1:]


def _block(n_in: int, n_out: int) -> nn.Sequential:
    layers = []
    for n in (n_in, n_out):
        layers += [nn.Conv2d(n, n_out, 3, padding=1, bias=False), nn.BatchNorm2d(n_out), nn.ReLU()]
    return nn.Sequential(*layers)


def build_network(
    weights: Mapping[str, np.ndarray] | None, seed: int, device: torch.device
) -> UNet:
    """Make a network with given weights, or random ones."""
    torch.manual_seed(seed)
    net = UNet()
    if weights is not None:
        known = _arrays(net)
        if wrong := _unfit(known, weights):
            raise DataError(
                f"the weights are of another network, or damaged: {min(wrong)} does not fit",
                "nothing can be judged by them",
                TRAIN_REMEDY,
            )
        # Copies, for training must not change what it was given.
        net.load_state_dict(
            {n: torch.from_numpy(np.array(a, known[n].dtype)) for n, a in weights.items()}
        )
    return net.to(device, memory_format=torch.channels_last)


def are_valid_weights(weights: Mapping[str, np.ndarray]) -> bool:
    """Tell whether weights are those of a network."""
    return not _unfit(_arrays(UNet()), weights)


def _arrays(net: UNet) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in net.state_dict().items()}


def _unfit(known: Mapping[str, np.ndarray], weights: Mapping[str, np.ndarray]) -> set[str]:
    """List what there is too much or too little of, or that is damaged."""
    return {n for n in known.keys() | weights.keys() if not _fits(known, weights, n)}


def _fits(known: Mapping[str, np.ndarray], weights: Mapping[str, np.ndarray], name: str) -> bool:
    """Tell whether weights are finite numbers, of a name and shape that the network has."""
    if name not in known or name not in weights or weights[name].shape != known[name].shape:
        return False
    if weights[name].dtype.kind not in "iuf":
        return False
    values = weights[name].astype(np.float64)  # weights that ship are halves, too small to compare
    least = 0 if name.endswith("running_var") else -LARGEST
    return bool(((values >= least) & (values <= LARGEST)).all())


def choose_device(name: str) -> torch.device:
    """Return a device, the fastest there is for ``auto``.

    Raises
    ------
    UsageError
        If this machine has none of that name.
    """
    there = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        name = next(device for device, usable in there.items() if usable)
    if not there[name]:
        usable = ", ".join(device for device, found in there.items() if found)
        raise UsageError(f"PyTorch finds no {name} here", remedy=f"--device auto, or {usable}")
    return torch.device(name)


# What it sees, and what it is told ---------------------------------------------------------------


def set_threads(n: int) -> None:
    """Let the network compute on so many cores."""
    torch.set_num_threads(n)


@dataclass(frozen=True, eq=False)
class NetworkInput:
    """What the network sees of a stack.

    Parameters
    ----------
    image : ndarray of float32, shape (Z, Y, X)
        EM in standard deviations; the nearest sound section in place of a damaged one.
    evidence : ndarray of float32, shape (Z, Y, X)
        Logit of the untrained neurite probability.
    views : list of View
        How it is looked at.
    """

    image: np.ndarray
    evidence: np.ndarray
    views: list[View]


def prepare_input(material: TrainingStack) -> NetworkInput:
    """Prepare a stack for the network."""
    seen = np.clip(standardise_sections(material.image, material.mask), -OUTLIER, OUTLIER)
    sound = [z for z in range(len(seen)) if z not in set(material.damaged_sections)]
    for z in material.damaged_sections if sound else ():
        before, after = nearest_sound_sections(z, sound)
        seen[z] = seen[before if z - before <= abs(after - z) else after]
    return NetworkInput(
        seen,
        bounded_logit(material.untrained_probability),
        orthogonal_views(seen.shape, material.voxel_size),
    )


def count_planes(seen: NetworkInput) -> int:
    """Count the planes of all views."""
    return sum(seen.image.shape[view.axis] for view in seen.views)


def count_patches(seen: NetworkInput) -> float:
    """Tell how many patches cover all planes of all views once."""
    per_plane = (
        (view, np.divide(view.shape, np.minimum(view.shape, PATCH))) for view in seen.views
    )
    return float(sum(seen.image.shape[view.axis] * np.prod(sides) for view, sides in per_plane))


def bounded_logit(probability: np.ndarray) -> np.ndarray:
    """Return the log-odds of probabilities, bounded."""
    bounded = np.clip(probability, LEAST_EVIDENCE, 1 - LEAST_EVIDENCE).astype(np.float32)
    return np.log(bounded / (1 - bounded))


@dataclass(frozen=True, eq=False)
class TrainingData:
    """What the network is told.

    Parameters
    ----------
    target : ndarray of bool, shape (Z, Y, X)
        Insides of neurites.
    weight : ndarray of float32, shape (Z, Y, X)
        How far that is to be believed.
    favoured : tuple of int
        Sections that half of what is seen of sections is taken from.
    """

    target: np.ndarray
    weight: np.ndarray
    favoured: tuple[int, ...] = ()


def build_training_data(
    material: TrainingStack, labels: np.ndarray, belief: np.ndarray, sections: Sequence[int]
) -> TrainingData:
    """Make targets of labels; of proofread ``sections``, of what a person said.

    A pseudo-label counts for as much as the probability it came from believes it. Where the two
    contradict each other nothing is learned, and what was learned elsewhere decides.

    Parameters
    ----------
    material : Material
        The stack.
    labels : ndarray of int32, shape (Z, Y, X)
        Neurites as they are thought to be.
    belief : ndarray of float32, shape (Z, Y, X)
        Neurite probability that they were made from.
    sections : sequence of int
        Proofread sections to learn from.
    """
    target = mask_interiors_3d(labels, material.voxel_size)
    weight = 1 - np.abs(target - belief)
    weight[list(material.damaged_sections)] = 0
    if sections:
        said = material.proofread.labels[list(sections)]
        target[list(sections)] = mask_interiors(said, material.voxel_size)
        weight[list(sections)] = PROOFREAD_WEIGHT
    weight[~material.mask] = 0
    return TrainingData(target, weight.astype(np.float32), tuple(sections))


def mask_interiors_3d(labels: np.ndarray, voxel_size: tuple[float, float, float]) -> np.ndarray:
    """Mark the insides of neurites, across thin sections too; bool (Z, Y, X)."""
    inside = mask_interiors(labels, voxel_size)
    if has_thin_sections(voxel_size):
        z, y, x = voxel_size
        across = mask_interiors(np.moveaxis(labels, 0, 1), (y, z, x))
        inside &= np.moveaxis(across, 1, 0)
    return inside


def stack_channels(seen: NetworkInput, view: View, plane: int, window: Window) -> np.ndarray:
    """Return what the network sees of a window: float32 (channels, H, W)."""
    image, evidence = view.planes(seen.image), view.planes(seen.evidence)
    near = np.clip(range(plane - NEIGHBOURS, plane + NEIGHBOURS + 1), 0, len(image) - 1)
    shown = [*(image[n] for n in near), evidence[plane]]
    return np.stack([view.resample(each, window) for each in shown])


# Training ----------------------------------------------------------------------------------------


def sample_patches(
    rng: np.random.Generator,
    seen: NetworkInput,
    told: TrainingData,
    n: int,
    only: Sequence[int] = (),
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Draw patches of one view.

    Parameters
    ----------
    rng : Generator
        Draws.
    seen, told : Sight, Lesson
        What they are taken from.
    n : int
        Patches.
    only : sequence of int
        Draw from these sections alone; from everywhere if there are none.

    Returns
    -------
    channels, target, weight : Tensor of float32, shapes (n, channels or 1, H, W)
    """
    size = [seen.image.shape[view.axis] * np.prod(view.shape) for view in seen.views]
    view = seen.views[0 if only else rng.choice(len(size), p=np.divide(size, sum(size)))]
    target, weight = view.planes(told.target), view.planes(told.weight)
    patches = []
    for _ in range(n):
        plane = _plane(rng, view, len(target), told.favoured, only)
        window = _window(rng, view, weight[plane])
        parts = (view.resample(each[plane], window)[None] for each in (target, weight))
        patches.append((stack_channels(seen, view, plane, window), *parts))
    return tuple(torch.from_numpy(np.stack(part)) for part in zip(*patches, strict=True))


def _plane(rng, view: View, n_planes: int, favoured, only) -> int:
    if only:
        return int(rng.choice(only))
    if favoured and view.axis == 0 and rng.random() < 0.5:
        return int(rng.choice(favoured))
    return int(rng.integers(n_planes))


def _window(rng, view: View, weight: np.ndarray) -> Window:
    """Choose where to look; again, a few times, where there is nothing to learn."""
    for _ in range(10):
        sides = [min(PATCH, side) for side in view.shape]
        corner = [
            int(rng.integers(n - side + 1)) for n, side in zip(view.shape, sides, strict=True)
        ]
        window = tuple(slice(c, c + side) for c, side in zip(corner, sides, strict=True))
        if view.resample(weight, window).any():
            break
    return window


def augment(rng: np.random.Generator, seen: torch.Tensor) -> torch.Tensor:
    """Vary patches as EM varies: contrast, brightness, gamma, blur, noise, neighbours.

    Neighbouring planes are now and then missing, or displaced as sections are that lie badly in
    register.

    Parameters
    ----------
    rng : Generator
        Draws.
    seen : Tensor, shape (B, channels, H, W)
        The last channel is the evidence.

    Returns
    -------
    Tensor
        Of the same shape.
    """

    def drawn(low, high):
        return torch.from_numpy(rng.uniform(low, high, (len(seen), 1, 1, 1)).astype(np.float32))

    image = seen[:, :-1]
    image = drawn(0.7, 1.4) * image + drawn(-0.08, 0.08) * image**2 + drawn(-0.3, 0.3)
    if rng.random() < 0.3:
        image = torch.lerp(image, functional.avg_pool2d(image, 3, 1, 1), drawn(0, 1))
    if rng.random() < 0.5:
        noise = rng.standard_normal(tuple(image.shape), dtype=np.float32)
        image = image + drawn(0, 0.4) * torch.from_numpy(noise)
    image = image.clone()
    for n in {*range(image.shape[1])} - {NEIGHBOURS}:
        if rng.random() < 0.25:
            step = tuple(rng.integers(-2, 3, 2).tolist())
            image[:, n] = torch.roll(image[:, n], step, (1, 2))
        if rng.random() < 0.08:
            image[:, n] = image[:, NEIGHBOURS]
    return torch.cat([image, seen[:, -1:] + drawn(-0.7, 0.7)], 1)


def reorient(x: torch.Tensor, turn: int) -> torch.Tensor:
    """Lay planes in one of eight ways: four rotations, and these mirrored."""
    return torch.rot90(x.flip(-1) if turn & 4 else x, turn & 3, (-2, -1))


def undo_reorient(x: torch.Tensor, turn: int) -> torch.Tensor:
    """Undo `reorient`."""
    x = torch.rot90(x, -(turn & 3), (-2, -1))
    return x.flip(-1) if turn & 4 else x


def membrane_loss(judged: torch.Tensor, target: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Weigh binary cross-entropy and Dice (Milletari et al. 2016) of the membrane."""
    entropy = functional.binary_cross_entropy_with_logits(judged, target, reduction="none")
    found, true = torch.sigmoid(-judged), 1 - target
    dice = (2 * (weight * found * true).sum() + 1) / ((weight * (found + true)).sum() + 1)
    return (weight * entropy).sum() / (weight.sum() + 1e-6) + (1 - dice) / 2


class Trainer:
    """A network in training, with all that must be kept to go on another day.

    Parameters
    ----------
    weights : mapping of str to ndarray, optional
        To start from; random ones without.
    seed : int
        Of random weights.
    device : torch.device
        Where to compute.
    """

    def __init__(self, weights: Mapping[str, np.ndarray] | None, seed: int, device: torch.device):
        self.device = device
        self.net = build_network(weights, seed, device)
        self.optimiser = torch.optim.AdamW(self.net.parameters(), weight_decay=WEIGHT_DECAY)

    def train_step(
        self,
        rng: np.random.Generator,
        seen: NetworkInput,
        told: TrainingData,
        rate: float,
        vary=augment,
    ) -> float:
        """Learn from one batch, varied so, at a learning rate; return its loss."""
        self.net.train()
        patches, target, weight = sample_patches(rng, seen, told, BATCH)
        turn = int(rng.integers(8))
        batch = [reorient(x, turn) for x in (vary(rng, patches), target, weight)]
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        wrong = self._loss(*batch)
        self.optimiser.zero_grad(set_to_none=True)
        wrong.backward()
        self.optimiser.step()
        return wrong.item()

    @torch.inference_mode()
    def examined(self, batches: Sequence[tuple[torch.Tensor, ...]]) -> float:
        """Return the mean loss on batches of `sample_patches`, learning nothing."""
        self.net.eval()
        return float(np.mean([self._loss(*batch).item() for batch in batches]))

    def _loss(self, patches, target, weight) -> torch.Tensor:
        patches, target, weight = (x.to(self.device) for x in (patches, target, weight))
        return membrane_loss(
            self.net(patches.contiguous(memory_format=torch.channels_last)), target, weight
        )

    def weights(self) -> dict[str, np.ndarray]:
        """Return a copy of the network's weights."""
        return {name: value.cpu().numpy().copy() for name, value in self.net.state_dict().items()}

    def momentum(self) -> dict[str, np.ndarray]:
        """Return the optimiser's state."""
        state = self.optimiser.state_dict()["state"]
        return {
            f"{i}/{name}": value.cpu().numpy().copy()
            for i, values in state.items()
            for name, value in values.items()
        }

    def restore_optimiser(self, momentum: Mapping[str, np.ndarray]) -> None:
        """Take up the optimiser's state where `momentum` left it."""
        state: dict[int, dict] = {}
        for path, value in momentum.items():
            i, name = path.split("/")
            state.setdefault(int(i), {})[name] = torch.from_numpy(np.asarray(value).copy())
        groups = self.optimiser.state_dict()["param_groups"]
        self.optimiser.load_state_dict({"state": state, "param_groups": groups})


@torch.no_grad()
def adapt_normalisation(
    weights: Mapping[str, np.ndarray], seen: NetworkInput, tissue: np.ndarray, seed: int
) -> dict[str, np.ndarray]:
    """Take the statistics that a network normalises by from the stack that it is to judge.

    What it learned stays, and no label is used (adaptive batch normalisation, Li et al. 2016). By
    the statistics of other tissue, units that find membranes may hardly respond in this one.

    Parameters
    ----------
    weights : mapping of str to ndarray
        Of a network that learned elsewhere.
    seen : Sight
        The stack.
    tissue : ndarray of bool, shape (Z, Y, X)
        Where it shows anything.
    seed : int
        Of what is looked at.

    Returns
    -------
    dict of ndarray
        The weights, with other means and variances of normalisation.
    """
    pupil = Trainer(weights, seed, torch.device("cpu"))
    for layer in pupil.net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.reset_running_stats()
            layer.momentum = None  # the mean over all batches
    pupil.net.train()
    told = TrainingData(tissue, tissue.astype(np.float32))
    rng = np.random.default_rng(seed)
    for _ in range(ADAPTING):
        patches, _, _ = sample_patches(rng, seen, told, BATCH)
        pupil.net(patches.contiguous(memory_format=torch.channels_last))
    return pupil.weights()


# Judging -----------------------------------------------------------------------------------------


@torch.inference_mode()
def predict_logits(
    net: UNet, seen: NetworkInput, progress: Progress = ignore_progress
) -> np.ndarray:
    """Judge every voxel in every view, laid in several ways, tile by tile.

    Parameters
    ----------
    net : Unet
        Trained.
    seen : Sight
        The stack.
    progress : callable
        Told of each plane.

    Returns
    -------
    ndarray of float32, shape (Z, Y, X)
        Mean logit. Memory for one tile is needed beside it.
    """
    net.eval()
    total = np.zeros(seen.image.shape, np.float32)
    for view in seen.views:
        out = view.planes(total)
        for plane in range(len(out)):
            judged = np.empty(view.shape, np.float32)
            for inner, outer in _tiles(view.shape):
                found = _tile(net, stack_channels(seen, view, plane, outer))
                judged[inner] = found[
                    tuple(
                        slice(i.start - o.start, i.stop - o.start)
                        for i, o in zip(inner, outer, strict=True)
                    )
                ]
            out[plane] += view.resample_back(judged) / len(seen.views)
            progress(1)
    return total


def _tile(net: UNet, patch: np.ndarray) -> np.ndarray:
    place = next(net.parameters()).device
    patch = torch.from_numpy(patch)[None].to(place)
    judged = [
        undo_reorient(
            net(reorient(patch, turn).contiguous(memory_format=torch.channels_last)), turn
        )
        for turn in TURNS
    ]
    return torch.stack(judged).mean(0)[0, 0].cpu().numpy()


def _tiles(shape: tuple[int, int]) -> Iterator[tuple[Window, Window]]:
    """Divide a plane up: what a tile is for, and with the margin that it must see."""
    for top in range(0, shape[0], TILE):
        for left in range(0, shape[1], TILE):
            corner = (top, left)
            inner = tuple(slice(c, min(c + TILE, n)) for c, n in zip(corner, shape, strict=True))
            outer = tuple(
                slice(max(i.start - MARGIN, 0), min(i.stop + MARGIN, n))
                for i, n in zip(inner, shape, strict=True)
            )
            yield inner, outer


def correct_probability(
    logits: np.ndarray, evidence: np.ndarray, tissue: np.ndarray, trust: float
) -> np.ndarray:
    """Turn the network's logits into a probability that means what the evidence means.

    The network corrects the evidence, and ``trust`` is how much of the correction is believed.
    The result takes on the evidence's distribution: where joining turns into parting was set for
    that, and networks that learned elsewhere, or on labels of another width of membrane, are
    confident in their own ways.

    Parameters
    ----------
    logits : ndarray of float32, shape (Z, Y, X)
        As `predict_logits` returns.
    evidence : ndarray of float32, shape (Z, Y, X)
        Untrained neurite probability.
    tissue : ndarray of bool, shape (Z, Y, X)
        What counts.
    trust : float
        0 leaves the evidence as it is, 1 believes the network alone.

    Returns
    -------
    ndarray of float32, shape (Z, Y, X)
        Neurite probability; 0 outside the tissue.
    """
    probability = np.zeros(tissue.shape, np.float32)
    before = bounded_logit(evidence)
    believed = (before + trust * (logits - before))[tissue]
    ranked = np.empty_like(believed)
    ranked[np.argsort(believed, kind="stable")] = np.sort(evidence[tissue])
    probability[tissue] = ranked
    return probability
