"""Training curves: a CSV that grows with the run, smoothed values for the progress bar, and a picture."""

import csv
from pathlib import Path


class Curve:
    """Appends (step, seconds, losses) to a CSV, averaged over every 20 steps."""

    def __init__(self, path: Path, every: int = 20):
        self.path, self.every, self.rows, self.mean = path, every, [], {}

    def add(self, step: int, seconds: float, report: dict) -> None:
        """Take one step's losses."""
        for name, value in report.items():
            self.mean[name] = value if name not in self.mean else 0.98 * self.mean[name] + 0.02 * value
        self.rows.append(report)
        if len(self.rows) < self.every:
            return
        names = sorted({n for row in self.rows for n in row})
        with open(self.path, "a", newline="") as file:
            writer = csv.writer(file)
            for name in names:
                values = [row[name] for row in self.rows if name in row]
                writer.writerow([step, round(seconds, 1), name, sum(values) / len(values)])
        self.rows = []

    def smooth(self) -> dict:
        """Running means by name."""
        return self.mean


def draw(paths: list[Path], picture: Path) -> None:
    """One panel per CSV, one line per loss, minutes along the bottom."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, len(paths), figsize=(5 * len(paths), 3.5), squeeze=False)
    for panel, path in zip(panels[0], paths, strict=False):
        lines: dict[str, list] = {}
        for _step, seconds, name, value in csv.reader(path.read_text().splitlines()):
            lines.setdefault(name, []).append((float(seconds) / 60, float(value)))
        for name, points in lines.items():
            panel.plot(*zip(*points, strict=False), label=name, linewidth=1)
        panel.set(title=path.stem, xlabel="minutes of training", yscale="log")
        panel.legend(fontsize=7)
        panel.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(picture, dpi=110)
    plt.close(figure)
