"""Lines of a text file that came from elsewhere."""

from collections.abc import Iterator
from pathlib import Path

from pipeline.errors import PipelineError


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the number and the text of every line that is not empty.

    Raises:
        PipelineError: If the file is no text.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, line.strip()
    except UnicodeDecodeError:
        raise PipelineError(f"{path} is no text. Name a file of boxes") from None
    except OSError as error:
        raise PipelineError(f"{path} cannot be read ({error.strerror})") from None
