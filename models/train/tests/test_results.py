"""docs/results.md holds what was measured, and nothing that was not."""

import json
from pathlib import Path

import pytest

from train import results


@pytest.fixture
def docs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "docs").mkdir()
    monkeypatch.setattr(results, "DOCS", tmp_path / "docs")
    return tmp_path / "docs"


def page(out: Path, docs: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr("sys.argv", ["results", "--out", str(out)])
    assert results.main() == 0
    return (docs / "results.md").read_text()


def test_without_measurements_nothing_is_written(tmp_path: Path, docs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["results", "--out", str(tmp_path)])
    assert results.main() == 1
    assert not list(docs.iterdir())


def test_each_measurement_becomes_a_part_with_its_pictures(tmp_path: Path, docs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for split in ["test", "dev"]:
        folder = tmp_path / f"measure-{split}"
        (folder / "l40").mkdir(parents=True)
        (folder / "comparison.md").write_text(f"# Comparison\n\nfigures of {split}\n")
        (folder / "comparison-roc.svg").write_text("<svg/>")
        (folder / "l40" / "reliability.svg").write_text("<svg/>")
    (tmp_path / "robustness").mkdir()
    for kind in ["jpeg", "blur"]:
        (tmp_path / "robustness" / f"robustness-{kind}.svg").write_text("<svg/>")
    (tmp_path / "robustness" / "robustness.csv").write_text(
        "model,kind,value,auc,auc_low,auc_high,balanced_accuracy,tpr,fpr,clips,abstained\n"
        "l40,none,,0.8,0.7,0.9,0.6,0.3,0.04,80,1\nl40,jpeg,60,0.72,,,0.5,0.25,,80,3\n"
        "l40,jpeg,50,0.7,,,0.5,0.25,,80,3\nl40,jpeg,40,0.6,,,0.5,0.25,,80,3\nl40,blur,2,0.7,,,0.5,0.25,,80,3\n"
    )
    written = page(tmp_path, docs, monkeypatch)
    assert written.index("figures of test") < written.index("figures of dev") < written.index("jpeg 60")
    assert "| as they are | 0.800 [0.700, 0.900] | 0.300 | 0.040 | 1 |" in written
    assert "| jpeg 60 | 0.720 | 0.250 | – | 3 |" in written
    for name in ["results-test-roc.svg", "results-dev-reliability.svg", "results-robustness-jpeg.svg"]:
        assert (docs / name).is_file() and f"({name})" in written
    assert "robustness-blur" not in written, "a curve of one point is none"
    assert "other rates" not in written and "recipe" not in written
    assert "| cnn-lstm-laplacian | cnn-lstm | – | – |" in written


def test_two_packages_are_compared_over_the_clips_that_both_scored(tmp_path: Path) -> None:
    def scores(name: str, given: str) -> Path:
        rows = zip("abcdef", ["real", "real", "real", "fake", "fake", "fake"], given.split(","))
        (tmp_path / name).mkdir()
        lines = [f"{file},{label},m,d,group-{file},{score}" for file, label, score in rows]
        (tmp_path / name / "scores.csv").write_text("\n".join(["file,label,method,dataset,group,score", *lines]) + "\n")
        return tmp_path / name

    # Without the clip that one of them has not scored: 1 less 0.
    first, second = scores("first", "0.1,0.2,0.99,0.7,0.8,0.9"), scores("second", "0.8,0.9,,0.1,0.2,0.3")
    assert results.gain(first, second).startswith("+1.000 [")
    assert results.gain(first, tmp_path / "none") == "–"


def test_another_rate_is_set_beside_that_of_the_training(tmp_path: Path, docs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = [{"auc": 0.83, "auc_low": 0.75, "auc_high": 0.92}, {"auc": 0.80, "auc_low": None, "auc_high": None}]
    less = {"auc_difference": 0.03, "low": -0.01, "high": 0.07, "clips": 80}
    models = [{"model": "l40", "timing": {"first_score": [1.3, 1.5]}}, {"model": "l40-30hz", "timing": {"first_score": None}}]
    (tmp_path / "rates").mkdir()
    (tmp_path / "rates" / "comparison.json").write_text(
        json.dumps({"models": models, "parts": [{"name": "all clips", "metrics": metrics, "first_less_other": [less]}]})
    )
    written = page(tmp_path, docs, monkeypatch)
    assert "| l40 | 0.830 [0.750, 0.920] | – | 1.3 s |" in written
    assert "| l40-30hz | 0.800 | -0.030 [-0.070, +0.010] | – |" in written


def test_the_original_task_is_deepfakes_against_reals_of_one_set(tmp_path: Path) -> None:
    header = "file,label,method,dataset,group,score,state"
    for split, rows in [
        ("dev", ["a,real,-,FF++ c23,a,0.1,authentic", "b,fake,Deepfakes,FF++ c23,b,0.6,uncertain", "c,fake,FaceSwap,FF++ c23,c,0.0,authentic"]),
        ("test", ["d,real,-,DFD c23,d,0.99,fake", "e,fake,Deepfakes,FF++ c23,e,0.9,fake"]),
    ]:
        (tmp_path / split / "tiny").mkdir(parents=True)
        (tmp_path / split / "tiny" / "scores.csv").write_text("\n".join([header, *rows]) + "\n")
    written = results.original_task([tmp_path / "dev", tmp_path / "test"])
    assert "| tiny | 1 / 2 | 1.000 [" in written and "| 0.667 |" in written
    assert results.original_task([tmp_path / "none"]) == ""
