"""What-if changes: a figure that is set is the figure that is used."""

import pytest

from memcalc import fit

JOB = {"model": "llama-3.1-8b", "chip": "h100-sxm"}


def test_a_constant_that_is_set_holds_whatever_the_chip_family_does():
    changes = {"engine.layer_s": "100us", "engine.sequence_s": 0}
    report = fit(**JOB, set=changes)
    assert report.decode.terms_s["latency"] == pytest.approx(32 * 100e-6)


def test_what_was_changed_is_no_longer_calibrated_and_is_named():
    plain = fit(**JOB)
    changed = fit(**JOB, set={"memory.hbm.bandwidth_bytes_per_s": 6.7e12})
    assert (plain.evidence["decode"], changed.evidence["decode"]) == ("calibrated", "estimate")
    speed = changed.decode.tokens_per_s_per_user
    assert changed.decode.high["tokens_per_s_per_user"] == pytest.approx(2 * speed)
    assert any("memory.hbm.bandwidth_bytes_per_s" in warning for warning in changed.warnings)
    assert changed.decode.terms_s["memory:hbm"] < 0.6 * plain.decode.terms_s["memory:hbm"]
