"""The strategy of the settings: found, asked, and its answer checked."""

from typing import Any

from qure.errors import BadInput
from qure.strategies.files import failed, from_file
from qure.strategies.options import Chooser, call_arguments, line_of
from qure.strategies.ranking import Choice, Range, Ranking
from qure.strategies.registry import Strategy, get


def choose(settings: Chooser, ranking: Ranking) -> Choice | Range:
    """What the strategy of the settings chooses.

    Raises:
        BadInput: see `require_usable`; or a function that raises or gives something else; names its file and line.
    """
    chosen = find(settings)
    arguments = call_arguments(chosen, settings)
    try:
        found = chosen.choose(ranking, **arguments)
    except BadInput:
        raise
    except Exception as error:
        if chosen.file is None:
            raise
        raise failed(chosen.file, error) from error
    if isinstance(found, Range):
        _require_range(chosen, found, ranking)
        return found
    if not isinstance(found, Choice):
        import torch

        none = torch.full_like(ranking.target_ranks, -1)
        found = Choice(found, none, none)
    _require_ranks(chosen, found.ranked, ranking)
    return found


def require_usable(settings: Chooser) -> None:
    """Runs the strategy's file, if it is in one, and checks the options: before the work that would need it.

    Raises:
        BadInput: no such strategy, a file that cannot be run, an option that is unknown, missing or of another type.
    """
    call_arguments(find(settings), settings)


def find(settings: Chooser) -> Strategy:
    """The strategy of the settings.

    Raises:
        BadInput: there is none of that name, or its file cannot be run; names file and line.
    """
    if settings.code is not None:
        return from_file(settings.strategy, settings.code)
    return get(settings.strategy)


def _require_ranks(chosen: Strategy, ranked: Any, ranking: Ranking) -> None:
    import torch

    shape = tuple(ranking.scores.shape)
    if isinstance(ranked, torch.Tensor) and ranked.dtype == torch.bool and tuple(ranked.shape) == shape:
        if ranked.device == ranking.scores.device:
            return
        found = f"a tensor on {ranked.device} where the scores are on {ranking.scores.device}"
    elif isinstance(ranked, torch.Tensor):
        found = f"{str(ranked.dtype).removeprefix('torch.')} {tuple(ranked.shape)}"
    else:
        found = type(ranked).__name__
    raise BadInput(
        f"the strategy {chosen.name!r} must give bool {shape}, a mark for every query and rank, and gave {found}",
        file=chosen.file,
        row=line_of(chosen),
    )


def _require_range(chosen: Strategy, found: Range, ranking: Ranking) -> None:
    import torch

    wanted = ranking.target_ranks
    for name, ranks in vars(found).items():
        if ranks is None and name in ("start", "end"):
            continue
        if not isinstance(ranks, torch.Tensor) or (ranks.dtype, ranks.shape) != (wanted.dtype, wanted.shape):
            raise BadInput(
                f"the strategy {chosen.name!r} must give int64 {tuple(wanted.shape)}, a rank for every query",
                file=chosen.file,
                row=line_of(chosen),
                field=name,
            )
