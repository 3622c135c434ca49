"""Systems that come with memcalc: what they are made of, memory counted once, and what `fit` says of each."""

from __future__ import annotations

import json
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import memcalc
from memcalc.cli.app import run
from memcalc.model import source_of
from memcalc.readers import presets
from memcalc.render.export import to_json
from memcalc.resolve import find_system

NAMES = presets.names("systems")
PAIRS = tuple(name for name in NAMES if len(presets.load_system(name).pools) > 1)
MEMORYX = {"cs-3-x1-memoryx": 1, "cs-3-x4-memoryx": 4, "cs-3-x20-memoryx": 20}
LPX = "vr200-nvl72-groq-3-lpx"

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "systems.json"
needs_data = pytest.mark.skipif(not DATA.is_file(), reason="no researched data beside the repository")
#: The chip's share of the rack's memory is that of the trays; their processors' DRAM lies beyond it.
BEYOND_THE_CHIPS = {"groq-3-lpx": 4096000000000}

# camps.md, section 8, and the sizes that people rent: chips of each kind, the main pool first.
WANTED = {
    **{f"{chip}-x{count}": ((chip, count),) for chip in ("h100-sxm", "h200-sxm", "b200") for count in (1, 2, 4, 8)},
    **{f"tpu-8i-x{count}": (("tpu-8i", count),) for count in (8, 64)},
    **{f"groq-lpu-v1-x{count}": (("groq-lpu-v1", count),) for count in (72, 1520)},
    "cs-3-x2": (("wse-3", 2),),
    **{name: (("wse-3", count),) for name, count in MEMORYX.items()},
    "northpole-96": (("northpole", 96),),
    "taalas-hc1-x10": (("taalas-hc1", 10),),
    "matx-one-x64": (("matx-one", 64),),
    LPX: (("vr200", 72), ("groq-3-lpu", 256)),
    f"{LPX}-x6": (("vr200", 72), ("groq-3-lpu", 1536)),
    f"{LPX}-x9": (("vr200", 72), ("groq-3-lpu", 2304)),
    "trn3-gen2-ultraserver-cs-3-x4": (("wse-3", 4), ("trainium3", 144)),
}  # fmt: skip


@cache
def researched() -> dict[str, dict[str, Any]]:
    """The rows of the researched data by id; none where the data are not beside the repository."""
    rows = json.loads(DATA.read_text(encoding="utf-8")) if DATA.is_file() else []
    return {row["id"]: row for row in rows}


def made_of(name: str) -> tuple[tuple[str, int], ...]:
    """The chips of a system and their counts, the main pool first."""
    return tuple((pool.chip.name, pool.count) for pool in presets.load_system(name).pools)


def answer(model: str, system: str, **options: Any) -> dict[str, Any]:
    """The report of `fit` as its JSON, which refuses what is not finite."""
    return json.loads(to_json(memcalc.fit(model, system=system, **options).to_dict()))


def table(name: str) -> dict[str, Any]:
    """The file of a system as it stands."""
    return tomllib.loads(presets.text("systems", name))


@needs_data
def test_the_researched_systems_are_all_there():
    assert len(researched()) == 106
    assert set(researched()) - set(NAMES) == set()


@needs_data
@pytest.mark.parametrize("name", sorted(researched()))
def test_a_system_has_the_chips_of_the_researched_data(name):
    wanted = tuple((chip["chip"], chip["count"]) for chip in researched()[name]["chips"])
    assert made_of(name) == wanted


@pytest.mark.parametrize("name", sorted(WANTED))
def test_a_system_of_the_camps_is_there(name):
    assert made_of(name) == WANTED[name]


@pytest.mark.parametrize("name", NAMES)
def test_fit_answers_for_each_system(name, capsys):
    status = run(["fit", "llama-3.1-8b", "--system", name, "--json"])
    said = capsys.readouterr()
    report = json.loads(said.out, parse_constant=pytest.fail)
    assert said.err == ""
    assert status == (0 if report["fits"] else 1)
    assert report["fits"] == (report["verdict"] != "does-not-fit")
    assert report["system"]["name"] == presets.find("systems", name)
    if report["fits"] and report["decode"] is None:
        assert any(note.startswith("no times: ") for note in report["warnings"])


def test_few_systems_have_no_times():
    # Of a system that came without times, a figure of its chip or its links was forgotten.
    without = {name for name in NAMES if (found := answer("llama-3.1-8b", name, context="1k"))["fits"]
               and found["decode"] is None}  # fmt: skip
    assert {presets.load_system(name).chip.name for name in without} <= {
        "d-matrix-corsair", "jetson-thor", "maia-200", "sambanova-sn50", "tpu-8i", "tpu-8t",
    }  # fmt: skip


# Memory of the host and flash: counted once.


@needs_data
@pytest.mark.parametrize("name", sorted(name for name, row in researched().items() if row["tiers"]))
def test_host_memory_adds_up_to_that_of_the_system(name):
    found = dict.fromkeys(("host", "flash"), 0)
    for pool in presets.load_system(name).pools:
        for tier in found:
            memory = pool.chip.memory.get(tier)
            # The researched row of a pair has the memory of its second rack alone.
            if memory and memory.capacity_bytes and not (name in PAIRS and pool.chip.name == "vr200"):
                found[tier] += memory.capacity_bytes * pool.count
    wanted = dict.fromkeys(found, 0)
    for tier in researched()[name]["tiers"]:
        wanted["flash" if tier["name"] == "flash" else "host"] += tier["capacity_bytes"]
    wanted["host"] -= next((size for key, size in BEYOND_THE_CHIPS.items() if name.endswith(key)), 0)
    assert found == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("name", [name for name in NAMES if "set" in table(name)])
def test_what_a_system_changes_of_its_chip_has_a_source_and_differs(name):
    changed, system = table(name)["set"], presets.load_system(name)
    bare = presets.load_chip(system.chip.name)
    assert system.chip != bare
    for figure, value in changed.items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            assert source_of(system.sources, figure) is not None, figure
            assert source_of(system.chip.sources, figure) == source_of(system.sources, figure)
        if figure.endswith("capacity_bytes"):
            assert isinstance(value, int)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in MEMORYX])
def test_what_lies_beyond_the_chip_is_a_home_only_where_it_is_asked_for(name):
    memory = presets.load_system(name).chip.memory
    assert not any(memory[tier].home for tier in ("host", "flash") if tier in memory)


def test_offloading_to_the_host_of_a_dgx():
    alone = answer("llama-3.1-70b", "dgx-h100", context="128k", batch=48)
    report = answer("llama-3.1-70b", "dgx-h100", context="128k", batch=48, offload="host")
    assert not alone["fits"]
    assert report["verdict"] == "host"
    tiers = {tier["tier"]: tier for tier in report["tiers"]}
    assert tiers["host"]["capacity_bytes"] == 2199023255552
    # What spills is read over 8 links of 63 GB/s.
    spilt = sum(part["tiers"].get("host", 0) for part in report["placement"])
    assert report["decode"]["bottleneck"] == "memory:host"
    assert report["decode"]["terms_s"]["memory:host"] == pytest.approx(spilt / (8 * 6.3e10), rel=0.2)


def test_offloading_to_more_than_the_host_has():
    # 64 caches of 43 GB: 2.75 TB and the weights are more than HBM and 2 TiB of host memory hold.
    report = answer("llama-3.1-70b", "dgx-h100", context="128k", batch=64, offload="host")
    assert not report["fits"]
    assert report["limits"]["max_batch"] < 64


def test_offloading_to_flash_of_no_published_speed():
    report = answer("llama-3.1-70b", "dgx-b200", context="128k", batch=64, offload="flash")
    assert report["verdict"] == "host"
    assert report["decode"] is None
    assert any("memory.flash.bandwidth_bytes_per_s" in note for note in report["warnings"])


# SHIP (MLSys 2026): 72 TB of DDR4 and 18.4 TB/s beside 576 LPUs.
def test_the_host_memory_of_groq():
    for name in ("groq-lpu-v1-x72", "groq-lpu-v1-576", "groq-lpu-v1-x1520"):
        system = presets.load_system(name)
        host = system.chip.memory["host"]
        assert host.capacity_bytes * 576 == 72e12
        assert host.bandwidth_bytes_per_s * 576 == pytest.approx(18.4e12, rel=1e-3)


# Streams of weights.


# camps.md, section 6: 141 GB of weights through 150 GB/s take 0.94 s a pass.
@pytest.mark.parametrize("name", sorted(MEMORYX))
def test_memoryx_streams_70b_in_under_a_second(name):
    report = answer("llama-3.1-70b", name)
    assert report["verdict"] == "host"
    assert report["decode"]["bottleneck"] == "memory:host"
    assert report["decode"]["step_s"] == pytest.approx(0.94, rel=0.02)
    homes = {part["tensor"]: set(part["tiers"]) for part in report["placement"] if part["tiers"]}
    assert homes["weights"] == {"host"}
    assert homes["kv_cache"] == {"sram"}


@pytest.mark.parametrize(("name", "wafers"), sorted(MEMORYX.items()))
def test_memoryx_feeds_a_copy_on_each_wafer(name, wafers):
    report = answer("llama-3.1-70b", name, batch=wafers)
    assert report["layout"]["data_parallel"] == wafers
    assert report["layout"]["tensor_parallel"] == report["layout"]["pipeline_parallel"] == 1
    one = answer("llama-3.1-70b", "cs-3-x1-memoryx")
    assert report["decode"]["step_s"] == pytest.approx(one["decode"]["step_s"], rel=1e-3)
    assert report["decode"]["tokens_per_s"] == pytest.approx(wafers * one["decode"]["tokens_per_s"], rel=1e-3)


def test_memoryx_holds_what_a_wafer_does_not():
    assert not answer("deepseek-v3", "cs-3-x1")["fits"]
    assert answer("deepseek-v3", "cs-3-x1-memoryx")["verdict"] == "host"


# Pairs.


def test_there_are_pairs():
    assert set(PAIRS) == {LPX, f"{LPX}-x6", f"{LPX}-x9", "trn3-gen2-ultraserver-cs-3-x4"}


@pytest.mark.parametrize("name", PAIRS)
def test_a_pair_has_two_kinds_of_chips_and_a_link(name):
    system = presets.load_system(name)
    assert len({pool.chip.name for pool in system.pools}) == 2
    name = "feed_forward" if system.feed_forward else "prefill"
    assert getattr(system, name).bytes_per_s > 0
    assert source_of(system.sources, f"{name}.bytes_per_s").kind in ("derived", "estimate")
    assert " with " in system.title or "prefill on" in system.title
    assert system.notes


@pytest.mark.parametrize("name", PAIRS)
def test_the_answer_for_a_pair_names_both_pools(name):
    system = answer("llama-3.1-8b", name)["system"]
    assert [(pool["chip"], pool["chips"]) for pool in system["pools"]] == list(made_of(name))
    assert {pool["verdict"] for pool in system["pools"]} == {"dram", "on-chip"}
    assert system["chips"] == sum(pool["chips"] for pool in system["pools"])


def test_experts_too_large_for_one_rack_of_lpus():
    report = answer("deepseek-v3", LPX)
    assert not report["fits"]
    assert report["reason"].startswith("feed-forward on 256 × Groq 3 LPU")
    assert answer("deepseek-v3", f"{LPX}-x6")["fits"]


# camps.md: Kimi K2 needs nine racks of an LPU that has FP8 alone.
@pytest.mark.parametrize(("racks", "fits"), [("-x6", False), ("-x9", True)])
def test_racks_for_kimi_k2(racks, fits):
    assert answer("kimi-k2-instruct", LPX + racks)["fits"] is fits


# camps.md: 43 GB of cache go into 4 CS-3 in 72 ms.
def test_trainium_hands_the_cache_to_wafers():
    system = presets.load_system("trn3-gen2-ultraserver-cs-3-x4")
    trainium, wafer = system.prefill.chip.links, system.chip.links
    ways = 144 * trainium.scale_out_bytes_per_s, 4 * wafer.scale_up_bytes_per_s
    assert system.prefill.bytes_per_s == min(ways)
    assert 327680 * 131072 / system.prefill.bytes_per_s == pytest.approx(0.072, rel=0.01)
    wafers = answer("llama-3.1-70b", "cs-3-x4", context="64k")
    pair = answer("llama-3.1-70b", system.name, context="64k")
    assert pair["decode"]["step_s"] == pytest.approx(wafers["decode"]["step_s"])
    assert pair["prefill"]["time_to_first_token_s"] < wafers["prefill"]["time_to_first_token_s"]


# Chips that do not exist, and chips that hold one model.


def test_a_hypothetical_system_says_so():
    hypothetical = [
        name for name in NAMES if any(p.chip.hypothetical for p in presets.load_system(name).pools)
    ]
    assert hypothetical == ["matx-one-x64"]
    for name in NAMES:
        assert presets.load_system(name).title.startswith("hypothetical") == (name in hypothetical)
    assert answer("llama-3.1-8b", "matx-one-x64")["evidence"]["decode"] == "hypothetical"


@pytest.mark.parametrize("name", ["taalas-hc1-card", "taalas-hc1-server"])
def test_masks_hold_one_model(name, capsys):
    assert run(["fit", "llama-3.1-70b", "--system", name, "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["verdict"] == "does-not-fit"
    assert report["reason"] == "the masks of HC1 hold llama-3.1-8b, not llama-3.1-70b"


def test_masks_fix_the_weights():
    said = "the masks of taalas-hc1 fix the weights: hc1-3-6, not int4"
    report = answer("llama-3.1-8b", "taalas-hc1-server", context="1k", weights="int4")
    assert said in report["warnings"]
    assert report["precision"]["weights"] == "hc1-3-6"
    assert not any("fix the weights" in note for note in
                   answer("llama-3.1-8b", "taalas-hc1-server", context="1k")["warnings"])  # fmt: skip


def test_ten_cards_are_ten_copies():
    assert find_system("taalas-hc1-x10").name == "taalas-hc1-server"
    one = answer("llama-3.1-8b", "taalas-hc1-card", context="1k")
    ten = answer("llama-3.1-8b", "taalas-hc1-x10", context="1k", batch=10)
    assert ten["layout"]["data_parallel"] == 10
    assert ten["decode"]["tokens_per_s"] == pytest.approx(10 * one["decode"]["tokens_per_s"])


# A node by its own name is the count of its chips.
@pytest.mark.parametrize(("node", "chips"), [("dgx-h100", "h100-sxm-x8"), ("dgx-h200", "h200-sxm-x8"),
                                             ("dgx-b200", "b200-x8")])  # fmt: skip
def test_a_node_and_its_chips_answer_alike(node, chips):
    whole, counted = answer("llama-3.1-70b", node), answer("llama-3.1-70b", chips)
    assert whole["decode"] == counted["decode"]
    assert whole["system"]["chips"] == counted["system"]["chips"] == 8


# systems.json: of these the links inside are other than the chip's own widest.
@needs_data
@pytest.mark.parametrize("name", ["a40-x4", "gaudi-3-rack-64", "gaudi-3-x8", "h100-pcie-x4", "trn2-48xlarge"])
def test_links_inside_a_system(name):
    wanted, links = researched()[name]["scale_up"], presets.load_system(name).chip.links
    assert links.scale_up_bytes_per_s == wanted["bytes_per_s_per_direction_per_chip"]
    assert links.scale_up_domain_chips >= wanted["domain_chips"]
