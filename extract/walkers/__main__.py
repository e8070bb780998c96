"""Render the walkers: a dataset in the layout of MARS, with the truth about every joint.

Run:   python -m extract.walkers
"""

from pipeline import console, paths
from pipeline.cli import DryRun, Limit, Overrides, Quiet, Verbose, run, start


def main(
    overrides: Overrides = None,
    limit: Limit = 0,
    dry_run: DryRun = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Render walking people as a dataset in the layout of MARS, in data/raw/walkers.

    Example: python -m extract.walkers walkers.identities_test=5
    """
    stage = start("walkers", "walkers", overrides, limit, dry_run, verbose, quiet)
    from extract.walkers import render
    from extract.walkers.plan import tracklets

    knobs = stage.params.walkers
    planned = tracklets(knobs)
    planned = planned[:limit] if limit else planned
    made_of = stage.params.fingerprint("walkers") + (f"-{limit}" if limit else "")
    work, final = (
        paths.work_dir("walkers", "walkers", made_of),
        stage.out(paths.dataset_root("walkers")),
    )
    frames = render.frames(planned)
    if dry_run:
        left = [p for p in render.people(planned) if not render.truth_file(work, p).exists()]
        todo = 0 if render.is_made(final, made_of) else sum(map(render.frames, left))
        took = console.duration(todo / (render.FRAMES_PER_S * stage.params.runtime.workers))
        console.say(f"{final}: {todo} of {frames} frames to render on the CPU, about {took}, "
                    f"{console.size(frames * render.BYTES_PER_FRAME)}")  # fmt: skip
        return
    if not render.is_made(final, made_of):
        import shutil

        render.render(stage, work, planned)
        paths.publish_dir(render.finish(work, planned, knobs.seed, made_of), final)
        shutil.rmtree(work)
    console.summary(
        final,
        f"{frames} frames, {len(planned)} tracklets, {knobs.identities_train} persons to train on, "
        f"{knobs.identities_test} to test on, {knobs.cameras} cameras",
        "python -m extract.index --dataset walkers",
    )


if __name__ == "__main__":
    run(main)
