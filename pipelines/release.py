"""What is compiled into a pipeline beside its configuration: the settings that a form proposes, the code's version."""

from dataclasses import dataclass
from pathlib import Path

from pipelines.parameters import public_params
from qure.benchmarks import training_sets
from qure.config import Settings

#: params.yaml as it comes with the code.
SHIPPED = Path(__file__).resolve().parents[1] / "params.yaml"
#: Version of the code in compiled files that are part of the repository: a commit cannot hold its own name.
NO_VERSION = "unknown"


@dataclass(frozen=True, slots=True)
class Release:
    """What is compiled into a pipeline.

    Attributes:
        params: the settings that a form proposes, as JSON on one line.
        code_version: version of the code, part of every cache key.
    """

    params: str
    code_version: str = NO_VERSION

    @classmethod
    def load(cls, code_version: str = NO_VERSION, file: Path = SHIPPED) -> "Release":
        """With the settings that come with the code; where it was installed without them, the catalogue's.

        Raises:
            BadInput: the file is wrong, or holds credentials.
        """
        if not file.is_file():
            chosen = ", ".join(f'"{name}": {{"recipe": "catalogue"}}' for name in training_sets())
            return cls(f'{{"training": {{{chosen}}}}}', code_version)
        return cls(public_params(Settings.load(file), file), code_version)
