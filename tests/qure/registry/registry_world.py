"""A registry and everything that goes into it: small models that are registered, promoted and rolled back."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from qure.config import Settings
from qure.registry import stage
from qure.registry.champions import Champions
from qure.tracking import connect

Judge = Callable[..., Path]


class World:
    """A registry and everything that goes into it."""

    def __init__(
        self, settings: Settings, data: Path, folder: Path, model_of: Callable[[int], Path], judged: Judge
    ) -> None:
        self.settings, self.data, self.folder, self.model_of, self.judged = settings, data, folder, model_of, judged

    def register(self, seed: int, quality: float, **judging: Any) -> dict[str, Any]:
        model = self.model_of(seed)
        return stage.register(
            self.settings,
            "fashioniq",
            data=self.data,
            model=model,
            evaluation=self.judged(model, quality, **judging),
            output=self.folder / f"registration-{seed}.json",
            data_fingerprint="md5:the data",
        )

    def promote(self, seed: int, quality: float, reevaluate: Any = None, **judging: Any) -> dict[str, Any]:
        return stage.promote(
            self.settings,
            "fashioniq",
            registration=self.folder / f"registration-{seed}.json",
            evaluation=self.judged(self.model_of(seed), quality, **judging),
            output=self.folder / f"promotion-{seed}.json",
            reevaluate=reevaluate,
        )

    def enter(self, seed: int, quality: float, reevaluate: Any = None, **judging: Any) -> dict[str, Any]:
        self.register(seed, quality, **judging)
        return self.promote(seed, quality, reevaluate, **judging)

    @property
    def champions(self) -> Champions:
        return Champions(connect(self.settings.tracking), "qure-fashioniq")

    def changed(self, **promotion: Any) -> "World":
        other = self.settings.model_validate(self.settings.model_dump() | {"promotion": promotion})
        return World(other, self.data, self.folder, self.model_of, self.judged)
