"""Send a folder to a model hub."""

from pathlib import Path

from pipeline.errors import PipelineError


def send(folder: Path, name: str, is_public: bool) -> str:
    """Send a folder to a repository of the hub, made if there is none; return its address.

    Args:
        folder: What to send, whole.
        name: `OWNER/NAME`.
        is_public: Whether a new repository can be seen by everybody.

    Raises:
        PipelineError: If the hub does not take it.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    try:
        url = api.create_repo(name, private=not is_public, exist_ok=True)
        api.upload_folder(
            repo_id=url.repo_id, folder_path=folder, commit_message="A model of stage 2"
        )
    except Exception as error:  # its own errors, its client's, and the network's
        said = (str(error) or type(error).__name__).splitlines()[0]
        raise PipelineError(
            f"the hub does not take {name} ({said}). The folder is at {folder}. Is it "
            "OWNER/NAME, is there a network, and did you log in (hf auth login)?"
        ) from error
    return str(url)
