"""Read PRID-2011.

Where: the Institute of Computer Graphics and Vision, TU Graz (Hirzer et al., "Person
Re-Identification by Descriptive and Discriminative Classification", SCIA 2011); the ten splits
`splits_prid2011.json` are passed on by re-ID code bases such as Torchreid.

    multi_shot/cam_a/person_0001/0001.png     also cam_b; the archive's folder is prid_2011/
    splits_prid2011.json                      ten times {"train": [89 names], "test": [89 names]}

385 persons in camera a, 749 in b, 200 in both; of these the 178 with at least 27 frames in both
cameras are used, half for training. Queries come from camera a, the gallery is camera b.
`index.split_id` chooses the split.
"""

from collections.abc import Iterator

from extract.tracklets import DatasetFacts, ParserInput, Tracklet, from_folder
from pipeline.errors import PipelineError
from pipeline.files.texts import read_json

SOURCE = "docs/datasets.md says where PRID-2011 and splits_prid2011.json are to be had."


def _camera(camid: int) -> str:
    """Return a camera as names of folders have it: cam_a."""
    return "cam_" + "ab"[camid]


FACTS = DatasetFacts(
    source=SOURCE,
    published={
        "train_tracklets": 178,
        "train_pids": 89,
        "query_tracklets": 89,
        "gallery_tracklets": 89,
    },
    random_splits=10,
    camera=_camera,
)
PREFIX = "person_"
PARTS = (("gallery", "test", "b"), ("query", "test", "a"), ("train", "train", "ab"))


def read(reading: ParserInput) -> Iterator[Tracklet]:
    """Yield the tracklets of one of the ten published splits."""
    path = reading.file("splits_prid2011.json", SOURCE)
    splits = read_json(path, SOURCE)
    try:
        halves = splits[reading.split_id]
        persons = {half: sorted(halves[half]) for half in ("train", "test")}
    except (LookupError, TypeError) as error:
        raise PipelineError(
            f"{path} does not hold ten {{train, test}} splits ({error!r}). {SOURCE}"
        ) from None
    for person in (everybody := [one for half in persons.values() for one in half]):
        if not isinstance(person, str) or everybody.count(person) > 1:
            raise PipelineError(f"{path}: {person!r} is no person, or is named twice. {SOURCE}")
    reading.file("multi_shot/cam_a", SOURCE)
    pids = reading.number_people((person.removeprefix(PREFIX) for person in everybody), where=path)
    for split, half, cameras in PARTS:
        for person in sorted(persons[half], key=lambda name: pids[name.removeprefix(PREFIX)]):
            for camera in cameras:
                folder = f"multi_shot/cam_{camera}/{person}"
                pid = pids[person.removeprefix(PREFIX)]
                name = f"cam_{camera}_{person}"
                if found := from_folder(reading, folder, name, pid, "ab".index(camera), split):
                    yield found
