"""The benchmarks, at a size at which only their arithmetic matters."""

import json

from benchmarks import gpu, losses


def test_headline_of_the_losses():
    result = losses.headline(repeats=1, n=48, dim=8)
    rows = {row["name"]: row for row in result["rows"]}
    for name, row in rows.items():
        if "note" not in row:
            assert row["seconds"] > 0
            if "error" in row:
                assert row["error"] < 1e-5, name
    assert {k.split(" / ")[0] for k in result["ratios"]} < set(rows)
    assert losses.table(result).count("\n") > len(rows)


def test_a_part_that_fails_leaves_the_others_and_says_why(tmp_path, monkeypatch):
    def fails(size, clock, data, say):
        say({"rows": [{"name": "measured", "seconds": 0.5, "temporary_mb": 1.0}]})
        raise RuntimeError("RESOURCE_EXHAUSTED: out of memory")

    def works(size, clock, data, say):
        assert data.source.startswith("synthetic images") and data.train.shape[1:] == (32, 32, 3)
        of = dict.fromkeys(("norm_cv", "group_ad_mean", "group_ad_pass"), 0.25)
        return {"epochs": {"0": of | {"group_dp_mean_p": 0.5, "group_dp_pass": 1.0}}}

    monkeypatch.setattr(gpu, "PARTS", {"losses": fails, "contrastive": works})
    gpu.main(["--size=tiny", f"--out={tmp_path}", "--data_dir=/nowhere"])
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert "out of memory" in found["losses"]["failed"] and found["losses"]["rows"]
    page = (tmp_path / "gpu.md").read_text()
    assert "| measured | 500.0 |" in page and "| 0 | 0.250 | 0.250 |" in page
