"""Training of the mask network under Lightning: masks in one pass that lead faces away from themselves."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from facecrypt.engine.trainer import make_trainer
from facecrypt.errors import FacecryptError
from facecrypt.faces.alignment import crop
from facecrypt.methods.calls import Source, embed_crops
from facecrypt.methods.iterative.loop import Surrogate
from facecrypt.methods.mask_network import SIZE, TEMPLATE, MaskNetwork
from facecrypt.surrogates.crops import embedder_grid
from facecrypt.system.private_files import temporary_folder

_CHECKED = 8
"""Every so manieth face is kept to see how well the network does on faces that it was not trained on."""
_RATE, _UNIVERSAL_RATE = 1e-3, 0.1
"""Learning rates of Adam."""
_PATIENCE = 10
"""Epochs without a better one after which training ends."""
_SHIFT, _SCATTER, _LIGHT = 3.0, 1.5, 0.15
"""Most by which all landmarks are moved together, in pixels, the standard deviation of each, and the most by which a
face is lit otherwise, as a share. Masks would else count on pixels that lie as they did, and none does on a photo."""


class MaskTraining(lightning.LightningModule):
    """The loss of a mask network: the mean cosine of faces with themselves under their masks, over the surrogates.

    Args:
        network: What is trained.
        surrogates: The surrogates, which are not.
        seed: Of how faces are moved, turned over and lit.
    """

    def __init__(self, network: MaskNetwork, surrogates: Sequence[Surrogate], seed: int = 0) -> None:
        super().__init__()
        self.network = network
        self._embedders = [each.embedder for each in surrogates]
        self._sources = [Source("surrogate", each.name, each.origin) for each in surrogates]
        self._moved = nn.ModuleList(self._embedders)
        self._draw = torch.Generator().manual_seed(seed)

    def similarity(self, faces: Tensor, landmarks: Tensor) -> Tensor:
        """Return the cosine of faces with themselves under their masks, ``(B,)``.

        Args:
            faces: Aligned, ``(B, 3, 144, 144)``.
            landmarks: By which they are cut out for the surrogates, ``(B, 5, 2)``, in pixels of them.

        Raises:
            PluginError: If a plugin's surrogate raises, or gives something else than embeddings.
            EmbeddingError: If the numbers of another one are not finite.
        """
        changed = (faces + self.network(faces)).clamp(0, 1)
        cosines = []
        for source, embedder in zip(self._sources, self._embedders, strict=True):
            grid = embedder_grid(embedder, landmarks, SIZE).to(faces.device)
            with torch.no_grad():
                before = embed_crops(source, embedder, crop(faces, grid))
            cosines.append((embed_crops(source, embedder, crop(changed, grid)) * before).sum(dim=1))
        return torch.stack(cosines).mean(dim=0)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        """Return the loss of faces that are found, turned over and lit at random."""
        return self.similarity(*varied(batch[0], self._draw)).mean()

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        """Note how similar the faces are that it was not trained on, each found a little beside its place."""
        (faces,) = batch
        _, landmarks = varied(faces, torch.Generator().manual_seed(batch_idx))
        self.log("similarity", self.similarity(faces, landmarks).mean(), batch_size=len(faces))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return Adam for the network alone; a pixel of what is the same for all faces moves by larger steps."""
        rest = [each for name, each in self.network.named_parameters() if name != "universal"]
        groups: list[dict[str, Any]] = [{"params": [self.network.universal], "lr": _UNIVERSAL_RATE}, {"params": rest}]
        return torch.optim.Adam(groups, lr=_RATE)


def varied(faces: Tensor, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return faces as another lamp or a mirror shows them, and their landmarks as another detector finds them.

    Args:
        faces: Aligned, ``(B, 3, 144, 144)``.
        draw: Draws how.
    """
    count = len(faces)
    light = 1 + _LIGHT * (2 * torch.rand(count, 1, 1, 1, generator=draw) - 1).to(faces.device)
    over = (torch.rand(count, 1, 1, 1, generator=draw) < 0.5).to(faces.device)
    moved = _SHIFT * (2 * torch.rand(count, 1, 2, generator=draw) - 1)
    landmarks = torch.tensor(TEMPLATE) + moved + _SCATTER * torch.randn(count, 5, 2, generator=draw)
    return (torch.where(over, faces.flip(3), faces) * light).clamp(0, 1), landmarks


def train(
    training: MaskTraining, faces: Tensor, epochs: int, batch_size: int, arguments: Mapping[str, Any], seed: int
) -> float:
    """Train a mask network in place, and return how similar faces are to themselves that it was not trained on.

    It has the weights of its best epoch at last, and ends early where it gets no better.

    Args:
        training: The network with its loss.
        faces: Aligned faces, ``(N, 3, 144, 144)``, RGB in [0, 1], two at least.
        epochs: Most passes over them.
        batch_size: Faces of a step.
        arguments: Of Lightning's Trainer, as a recipe gives them; their ``max_epochs`` stands above `epochs`.
        seed: Of the order.

    Raises:
        FacecryptError: If Lightning refuses its arguments, or no epoch was finished.
    """
    kept = torch.arange(len(faces)) % _CHECKED == 0
    order = torch.Generator().manual_seed(seed)
    seen, unseen = TensorDataset(faces[~kept]), TensorDataset(faces[kept])
    loader = DataLoader(seen, batch_size, shuffle=True, generator=order)
    with temporary_folder("train") as folder, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*number of training batches.*")
        warnings.filterwarnings("ignore", message="Found .* in eval mode")  # The surrogates are.
        best = ModelCheckpoint(folder, monitor="similarity", save_weights_only=True)
        quiet = {"logger": False, "enable_model_summary": False, "enable_progress_bar": False}
        own = [best, EarlyStopping("similarity", patience=_PATIENCE), *arguments.get("callbacks", [])]
        trainer = make_trainer({**quiet, "max_epochs": epochs, **arguments, "callbacks": own})
        trainer.fit(training, loader, DataLoader(unseen, batch_size))
        if not best.best_model_path:
            raise FacecryptError(
                "trainer: no epoch of the training was finished and looked at, so there is no network. Leave out "
                "fast_dev_run and limits of batches."
            )
        state = torch.load(Path(best.best_model_path), "cpu", weights_only=True)["state_dict"]
        training.load_state_dict(state)
    assert best.best_model_score is not None
    return float(best.best_model_score)
