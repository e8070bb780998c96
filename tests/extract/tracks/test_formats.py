"""Files of boxes in five formats: what they say, how they are told apart, what is refused."""

import json
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extract.tracks.boxes import Box
from extract.tracks.read import format_of, read_boxes
from extract.tracks.video import Video
from pipeline.errors import PipelineError

SIZE = (160, 120)
# Two people: frame, track, x, y, width, height. The second one comes later and is away in frame 2.
PEOPLE = [
    (0, 1, 10.0, 20.0, 30.0, 60.0),
    (1, 1, 14.0, 20.0, 30.0, 60.0),
    (1, 2, 80.0, 30.0, 24.0, 48.0),
    (2, 1, 18.0, 21.0, 30.0, 60.0),
    (3, 2, 70.0, 30.0, 24.0, 48.0),
]


@pytest.fixture
def video(tmp_path, monkeypatch) -> Video:
    monkeypatch.chdir(tmp_path)
    writer = cv2.VideoWriter("street.avi", cv2.VideoWriter.fourcc(*"FFV1"), 15, SIZE)
    for grey in range(5):
        writer.write(np.full((SIZE[1], SIZE[0], 3), 40 * grey, np.uint8))
    writer.release()
    return Video(Path("street.avi"))


def mot(rows=PEOPLE, end=",1,-1,-1,-1") -> Path:
    lines = (f"{f + 1},{t},{x},{y},{w},{h}{end}\n" for f, t, x, y, w, h in rows)
    return written("mot.txt", "".join(lines))


def mot_truth(rows=PEOPLE) -> Path:
    lines = [f"{f + 1} {t} {x} {y} {w} {h} 1 1 0.5\n" for f, t, x, y, w, h in rows]
    lines += ["1 8 1 1 9 9 0 1 1\n", "2 9 1 1 9 9 1 3 1\n"]
    return written("gt.txt", "".join(lines))


def ultralytics(
    rows=PEOPLE, confidence=" 0.875", track=True, at="runs/labels/street_{}.txt"
) -> Path:
    Path("runs/labels").mkdir(parents=True, exist_ok=True)
    for frame in range(4):
        lines = [
            f"0 {(x + w / 2) / SIZE[0]:.6f} {(y + h / 2) / SIZE[1]:.6f} {w / SIZE[0]:.6f} "
            f"{h / SIZE[1]:.6f}{confidence}{f' {t}' if track else ''}\n"
            for f, t, x, y, w, h in rows
            if f == frame
        ]
        lines.append("2 0.5 0.5 0.25 0.25\n")
        Path(at.format(frame + 1)).write_text("".join(lines))
    Path("runs/labels/other_1.txt").write_text("0 0.5 0.5 0.5 0.5 7\n")
    return Path("runs")


def cvat(rows=PEOPLE) -> Path:
    tracks = ""
    for one in (1, 2):
        boxes = "".join(
            f'    <box frame="{f}" keyframe="0" outside="0" occluded="0" xtl="{x}" ytl="{y}" '
            f'xbr="{x + w}" ybr="{y + h}" z_order="0"/>\n'
            for f, t, x, y, w, h in rows
            if t == one
        )
        gone = '    <box frame="4" outside="1" xtl="0" ytl="0" xbr="9" ybr="9"/>\n'
        tracks += f'  <track id="{one}" label="pedestrian">\n{boxes}{gone}  </track>\n'
    other = '  <track id="7" label="car"><box frame="0" xtl="1" ytl="1" xbr="5" ybr="5"/></track>\n'
    text = f"<?xml version='1.0' encoding='utf-8'?>\n<annotations>\n{tracks}{other}</annotations>\n"
    return written("cvat.xml", text)


def coco(rows=PEOPLE, key="instance_id") -> Path:
    images = [
        {"id": 10 + i, "video_id": 1, "frame_id": i, "file_name": f"a/{i}.jpg"} for i in range(5)
    ]
    images += [{"id": 90, "video_id": 2, "frame_id": 0, "file_name": "b/0.jpg"}]
    found = [
        {"id": i, "image_id": 10 + f, "bbox": [x, y, w, h], "category_id": 3, key: t}
        for i, (f, t, x, y, w, h) in enumerate(rows)
    ]
    found += [{"id": 70, "image_id": 90, "bbox": [1, 1, 5, 5], "category_id": 3, key: 1}]
    found += [{"id": 71, "image_id": 10, "bbox": [1, 1, 5, 5], "category_id": 4, key: 5}]
    content = {
        "videos": [{"id": 1, "name": "street.mp4"}, {"id": 2, "name": "yard"}],
        "images": images,
        "annotations": found,
        "categories": [{"id": 3, "name": "person"}, {"id": 4, "name": "dog"}],
    }
    return written("coco.json", json.dumps(content, indent=1))


def vis(rows=PEOPLE) -> Path:
    tracks = []
    for one in (1, 2):
        bboxes = [next(([*r[2:]] for r in rows if r[:2] == (f, one)), None) for f in range(5)]
        tracks.append({"id": one, "video_id": 4, "bboxes": bboxes, "category_id": 1})
    content = {"videos": [{"id": 4}], "annotations": tracks, "categories": []}
    return written("vis.json", json.dumps(content))


def own(rows=PEOPLE) -> Path:
    lines = (f"{t},{f},{x},{y},{w},{h}\n" for f, t, x, y, w, h in rows)
    return written("own.csv", "track,frame,x,y,width,height\n" + "".join(lines))


def written(name: str, text: str) -> Path:
    Path(name).write_text(text)
    return Path(name)


def read(path: Path, video: Video, **options) -> list[Box]:
    return read_boxes(path, video, Counter(), **options)


FORMATS = [
    (mot, "mot"), (mot_truth, "mot"), (ultralytics, "ultralytics"), (cvat, "cvat"), (coco, "coco"),
    (vis, "coco"), (own, "csv"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "kind"), FORMATS)
def test_every_format_says_the_same(video, make, kind):
    path = make()
    assert format_of(path) == kind
    for boxes in (read(path, video), read(path, video, kind=kind)):
        assert [(box.frame, box.track) for box in boxes] == [(f, str(t)) for f, t, *_ in PEOPLE]
        np.testing.assert_allclose([box[2:6] for box in boxes], [r[2:] for r in PEOPLE], atol=1e-3)


def test_what_is_no_person_is_counted(video):
    for make, number in ((mot_truth, 1), (ultralytics, 4), (cvat, 1), (coco, 1)):
        left_out = Counter()
        read_boxes(make(), video, left_out)
        assert left_out["around something else"] == number, make


def test_people_may_be_called_anything(video):
    text = cvat().read_text().replace('"pedestrian"', '"Fußgänger"')
    Path("cvat.xml").write_text(text)
    with pytest.raises(PipelineError, match=r"boxes of Fußgänger, car. Say which are people"):
        read(Path("cvat.xml"), video)
    assert len(read(Path("cvat.xml"), video, label="Fußgänger")) == len(PEOPLE)


@pytest.mark.parametrize(
    ("confidence", "track", "tracked", "score"),
    [(" 0.5", True, True, 0.5), ("", True, True, 1.0), (" 0.5", False, False, 0.5),
     ("", False, False, 1.0), (" 1", False, False, 1.0)],
)  # fmt: skip
def test_a_track_of_ultralytics_is_told_from_a_confidence(video, confidence, track, tracked, score):
    boxes = read(ultralytics(confidence=confidence, track=track), video)
    assert all(bool(box.track) == tracked for box in boxes)
    assert {box.score for box in boxes} == {score}


def test_boxes_of_a_folder_of_pictures_go_by_their_names(video):
    Path("street").mkdir()
    for i in (1, 2, 10):
        cv2.imwrite(f"street/p{i}.png", np.zeros((SIZE[1], SIZE[0], 3), np.uint8))
    Path("labels").mkdir()
    Path("labels/p10.txt").write_text("0 0.5 0.5 0.25 0.5 3\n")
    (box,) = read(Path("labels"), Video(Path("street")))
    assert box[:6] == (2, "3", 60.0, 30.0, 40.0, 60.0)


def test_a_person_alone_needs_no_track_and_names_are_tracks(video):
    written("a.csv", "frame,x,y,width,height\n0,1,1,9,9\n1,1,1,9,9\n")
    assert {box.track for box in read(Path("a.csv"), video)} == {"1"}
    written(
        "b.csv", "\ufefftrack, frame ,x,y,width,height,score\nanna,0,1,1,9,9,.5\n,1,1,1,9,9,1\n"
    )
    assert [(b.track, b.score) for b in read(Path("b.csv"), video)] == [("anna", 0.5), ("", 1.0)]


def test_public_detections_of_motchallenge_have_no_track(video):
    boxes = read(mot([(f, -1, *rest) for f, _, *rest in PEOPLE], ",0.7"), video)
    assert {(box.track, box.score) for box in boxes} == {("", 0.7)}


def cvat_images() -> Path:
    return written(
        "a.xml", '<annotations><image id="0"><box label="p" xtl="1"/></image></annotations>'
    )


def bomb() -> Path:
    return written("a.xml", '<!DOCTYPE a [\n<!ENTITY b "bbbb">\n]>\n<annotations>&b;</annotations>')


HEADER = "frame,track,x,y,width,height\n"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.txt", "1,1,5,5,9,9\n2,1,nan,5,9,9\n", r"a.txt:2: x is 'nan'. Give a number"),
        ("a.txt", "1,1,5,5,-9,9\n", r"a.txt:1: the box is -9 wide and 9 high. Both must be above"),
        ("a.txt", "1,1,5,5,9,0\n", r"a.txt:1: the box is 9 wide and 0 high"),
        ("a.txt", "1,1,5,5,inf,9\n", r"a.txt:1: width is 'inf'"),
        ("a.txt", "1,1,5,5,9\n", r"a.txt:1: 5 numbers. Expected frame, track"),
        ("a.txt", "1,1,5,5,9,9\n0,1,5,5,9,9\n", r"a.txt:2: frame 0, but MOTChallenge counts from"),
        ("a.txt", "1.5,1,5,5,9,9\n", r"a.txt:1: frame is '1.5'. Give a whole number"),
        ("a.txt", "1,1,5,5,9,9\n1,1,6,6,9,9\n", "track 1 has another box in this frame, at"),
        ("a.txt", "one, two\n", r"looks like no file of boxes: its first line is 'one, two'"),
        ("a.txt", "", r"a.txt looks like no file of boxes"),
        ("a.txt", "0 0.5 0.5 0.1 0.2 3\n", "looks like one frame that Ultralytics saved"),
        ("a.csv", "frame,track,x,y,width\n0,1,1,1,1\n", r"a.csv:1: no column height. Known: frame"),
        ("a.csv", HEADER + "0,1,5,5,9\n", r"a.csv:2: 5 values under 6 names"),
        ("a.csv", HEADER + "-1,1,5,5,9,9\n", r"a.csv:2: there is no frame before the first"),
        ("a.csv", HEADER + "0,1,x,5,9,9\n", r"a.csv:2: x is 'x'"),
        ("a.csv", HEADER, r"a.csv holds no boxes of people"),
        ("a.xml", "<annotations>\n<track id='1'>\n", r"a.xml:3: no valid XML"),
        ("a.xml", "<annotations>\n<track><box/></track></annotations>", "a.xml:2: the id of"),
        ("a.xml", "<a><track id='1'>\n<box frame='1' xtl='q'/></track></a>", "2: xtl is 'q'"),
        ("a.json", '{"annotations": [\n{"a": }]}', r"a.json:2: no valid JSON"),
        ("a.json", '{"images": []}', r"a.json has no annotations"),
        ("a.json", '{"annotations": [1]}', r"a.json: annotations is no list of objects"),
        ("a.json", '{"images": [{"id": 1}], "annotations": [{"image_id": 1, "bbox": 3}]}',
         r"annotations\[0\]: bbox is 3"),
        ("a.json", "{" * 9, r"a.json:1: no valid JSON"),
    ],
)  # fmt: skip
def test_a_broken_file_is_one_line_with_its_place(video, name, text, message):
    with pytest.raises(PipelineError, match=message) as caught:
        read(written(name, text), video)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (cvat_images, "Export it from CVAT as 'CVAT for video 1.1'"),
        (bomb, "a.xml:2: it declares entities"),
        (lambda: Path("nowhere.txt"), "nowhere.txt does not exist"),
        (lambda: Path("street.avi"), "street.avi looks like no file of boxes"),
        (
            lambda: ultralytics(at="runs/labels/road_{}.txt"),
            "no boxes of street.avi, such as street_1",
        ),
        (lambda: ultralytics([(0, 1, 10, 20, 900, 60)]), "street_1.txt:1: 5.625 is no share"),
    ],
)
def test_a_wrong_file_is_one_line(video, make, message):
    with pytest.raises(PipelineError, match=message) as caught:
        read(make(), video)
    assert "\n" not in str(caught.value)


def test_a_format_that_nobody_knows_is_one_line(video):
    with pytest.raises(PipelineError, match=r"--format mots is not known\. Did you mean mot\?"):
        read(mot(), video, kind="mots")


@given(
    st.binary(max_size=400),
    st.sampled_from(
        [b"", b"1,1,", b"<a><track id='1'>", b'{"annotations":', b"frame,x,y,width,height\n"]
    ),
)
def test_any_bytes_are_boxes_or_one_line(tmp_path_factory, noise, start):
    folder = tmp_path_factory.getbasetemp()
    file, picture = folder / "noise.bin", folder / "pictures"
    picture.mkdir(exist_ok=True)
    if not (picture / "1.png").exists():
        cv2.imwrite(str(picture / "1.png"), np.zeros((8, 8, 3), np.uint8))
    file.write_bytes(start + noise)
    message = ""
    try:
        assert read(file, Video(picture))
    except PipelineError as error:
        message = str(error)
    assert "\n" not in message
