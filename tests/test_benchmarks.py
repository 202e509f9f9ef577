"""The benchmark of the losses, at a size at which only its arithmetic matters."""

from benchmarks import losses


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
