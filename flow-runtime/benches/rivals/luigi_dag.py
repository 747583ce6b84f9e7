"""The shapes that flow's `bench` measures, as tasks of Luigi.

A task is done when its target exists: that is what Luigi keeps, and what survives the death of the process. Each
target is a small file, written beside its name and then moved there. Luigi does not sync it to the disk.
"""

import tempfile

import luigi

import measure


class Number(luigi.Task):
    """Writes a number that the next tasks read."""

    # A folder for each run, so that nothing is done already when it begins.
    folder = luigi.Parameter()

    def output(self):
        return luigi.LocalTarget(f"{self.folder}/{self.task_family}-{getattr(self, 'number', 0)}")

    def run(self):
        given = 0
        for target in luigi.task.flatten(self.input()):
            with target.open() as file:
                given = max(given, int(file.read()))
        with self.output().open("w") as file:
            file.write(str(given + 1))


class Link(Number):
    """A task of the chain."""

    number = luigi.IntParameter()

    def requires(self):
        return Link(self.folder, self.number - 1) if self.number > 1 else []


class First(Number):
    """The one that all the others wait for."""


class Middle(Number):
    """One of those at once."""

    number = luigi.IntParameter()

    def requires(self):
        return First(self.folder)


class Last(Number):
    """The one that waits for all."""

    width = luigi.IntParameter()

    def requires(self):
        return [Middle(self.folder, number) for number in range(self.width)]


def main():
    args = measure.arguments(__doc__)

    kind, size = args.shape

    def run():
        folder = tempfile.mkdtemp(dir=args.folder)
        last, expected = (Link(folder, size), size) if kind == "chain" else (Last(folder, size), 3)
        # One worker stays in this process: with more, Luigi forks for every task, which costs more than such a task.
        # Its log of every step is off. The local scheduler is a part of the process, so nothing goes over a socket.
        # All else is as it comes: `cache_task_completion` and `check_unfulfilled_deps` made no difference here.
        done = luigi.build([last], local_scheduler=True, workers=1, log_level="ERROR")
        with last.output().open() as file:
            result = int(file.read())
        if not done or result != expected:
            raise SystemExit(f"{kind}:{size} gave {result}: it is no measure")

    measure.repeat(args, run)


if __name__ == "__main__":
    main()
