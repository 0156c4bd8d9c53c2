import re
from collections.abc import Callable
from html.parser import HTMLParser

import pytest

from glmplan.cost.estimate import StepEstimate
from glmplan.plan.document import Plan
from glmplan.plan.error_bars import days_bar, memory_bar, price_bar, step_time_bar
from glmplan.report.content import Report, plain
from glmplan.report.markdown import markdown_page
from glmplan.report.page import GENERATOR_TAG, html_page
from glmplan.report.run_folder import LoggedStep, Run
from glmplan.report.sections import make_report
from tests.report.sample_plan import HOSTILE, sample_measurement, sample_plan

MAX_PAGE_BYTES = 6_000_000
VOID = {"meta", "link", "br", "img", "input", "hr"}


class Reader(HTMLParser):
    """Elements with their attributes, text outside scripts, and whether every tag is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & set(self.open):
            self.text += data


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert not reader.open
    return reader


def report_of(plan: Plan, *, run_name: str = "first") -> Report:
    steps = tuple(LoggedStep(step=step, loss=9.0 - 0.1 * step, step_time_s=8.5) for step in range(20))
    measurement = sample_measurement(plan, plan.chosen, step_time_s=8.5, peak_memory_gib=40.0)
    return make_report(plan, (Run(name=run_name, steps=steps, measurement=measurement),))


def test_the_page_is_whole_and_loads_nothing() -> None:
    page = html_page(report_of(sample_plan()))
    assert page.startswith("<!DOCTYPE html>")
    assert len(page.encode()) < MAX_PAGE_BYTES
    assert GENERATOR_TAG in page[:2000]
    reader = read(page)
    for tag, attributes in reader.elements:
        assert "src" not in attributes
        assert not any(name.startswith("on") for name in attributes)
        if "href" in attributes:
            assert (attributes["href"] or "").startswith(("#", "data:,")), (tag, attributes)
    style = page[page.index("<style>") : page.index("</style>")]
    assert "url(" not in style and "@import" not in style


def test_every_section_link_leads_to_a_section_and_ids_are_unique() -> None:
    reader = read(html_page(report_of(sample_plan())))
    ids = [attributes["id"] for _, attributes in reader.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [attributes["href"] or "" for tag, attributes in reader.elements if tag == "a"]
    assert len(links) == 12
    assert {link[1:] for link in links} <= set(ids)


def test_every_chart_has_a_table_behind_it() -> None:
    reader = read(html_page(report_of(sample_plan())))
    tags = [tag for tag, _ in reader.elements]
    charts = [attributes for _, attributes in reader.elements if attributes.get("class") == "chart"]
    assert len(charts) == 6 == tags.count("details")
    assert all(attributes["role"] == "img" and attributes["aria-label"] for attributes in charts)


def test_the_headline_states_what_to_run_and_what_to_expect() -> None:
    text = read(html_page(report_of(sample_plan()))).text
    for words in (
        "Run gpt3-175b on 1,024 × a100_sxm_80gb: 8-way tensor parallel, 16-way pipeline parallel",
        "8.72 s",
        "(90 % interval 8.022 s to 9.505 s)",
        "46.0\N{NO-BREAK SPACE}%",
        "35.7 GiB of 80 GiB free",
        "$1,840",
        "for 300,000,000,000 tokens, without failures; $595,968 in all",
        "the prediction is transferred.",
        "Sixteen pipeline stages",
        "mean absolute error of 2.6\N{NO-BREAK SPACE}% over 1 run; 1 of 1 lay inside",
    ):
        assert words in text


def test_the_same_plan_gives_the_same_page() -> None:
    plan = sample_plan()
    again = Plan.model_validate_json(plan.model_dump_json())
    assert html_page(report_of(plan)) == html_page(report_of(again))
    assert markdown_page(report_of(plan)) == markdown_page(report_of(again))


def test_hostile_names_stay_text_in_the_page() -> None:
    plain_tags = [tag for tag, _ in read(html_page(report_of(sample_plan()))).elements]
    hostile = html_page(report_of(sample_plan(HOSTILE, cluster=HOSTILE, device=HOSTILE), run_name=HOSTILE))
    reader = read(hostile)
    assert [tag for tag, _ in reader.elements] == plain_tags
    assert "</script><img src=x onerror=alert(1)>" in reader.text


def test_hostile_names_stay_text_in_markdown() -> None:
    name = "a|b\n# c <img src=x> [d](javascript:e) ```\x1b[31m"
    text = markdown_page(report_of(sample_plan(name, device=name)))
    outside_code = re.sub(r"^(`{3,})sh\n.*?\n\1$", "", text, flags=re.MULTILINE | re.DOTALL)
    assert "<img" not in outside_code and "[d](" not in outside_code and "\x1b" not in text
    for table in re.findall(r"(?:^\|.*\n)+", outside_code, flags=re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1


def test_markdown_says_the_same_as_the_page() -> None:
    report = report_of(sample_plan())
    text = markdown_page(report)
    for section in report.sections:
        assert f"\n## {section.title}\n" in text
        for chart in section.charts:
            assert f"**{chart.table.caption}**" in text
    assert "| Activations | 18.5 GiB |" in text
    assert "```sh\nglmplan plan \\\n  --model gpt3-175b" in text


def test_control_and_reordering_characters_do_not_get_through() -> None:
    assert plain("a\x1b[0m\nb\u202ec\ud800\u2028") == "a\ufffd[0m b\ufffdc\ufffd\ufffd"
    assert plain("a\nb", keep_lines=True) == "a\nb"
    assert plain("名 naïve €") == "名 naïve €"


def with_estimate(plan: Plan, **changes: object) -> Plan:
    estimate = StepEstimate.model_validate(plan.chosen.estimate.model_dump() | changes)
    return plan.model_copy(update={"chosen": plan.chosen.model_copy(update={"estimate": estimate})})


def test_unknown_price_and_length_are_said_to_be_unknown_not_zero() -> None:
    plan = with_estimate(sample_plan(), usd_per_hour=None, usd_per_billion_tokens=None, train_days=None)
    text = markdown_page(make_report(plan))
    assert "- $ per billion tokens: **-** (no price is known for this cluster)" in text
    assert "Days to train" not in text


def test_a_plan_whose_parts_do_not_add_up_is_shown_with_a_warning() -> None:
    sound = markdown_page(make_report(sample_plan()))
    assert "Mind:" not in sound
    text = markdown_page(make_report(with_estimate(sample_plan(), step_time_s=10.0)))
    assert "Mind: the parts add up to 87.2\N{NO-BREAK SPACE}% of the 10 s that the plan states." in text


def test_a_plan_with_nothing_but_zeros_is_still_shown() -> None:
    zeros = sample_plan().chosen.estimate
    plan = with_estimate(
        sample_plan(),
        step_time_s=0.0,
        step_time_low90_s=0.0,
        step_time_high90_s=0.0,
        memory_capacity_bytes=0.0,
        peak_memory_bytes=0.0,
        memory=dict.fromkeys(zeros.memory.model_dump(), 0.0),
        time=dict.fromkeys(zeros.time.model_dump(), 0.0),
    ).model_copy(update={"alternatives": ()})
    page = html_page(report_of(plan))
    assert "NaN" not in read(page).text and "inf" not in read(page).text.split()


def test_the_search_is_stated_where_the_plan_does_not_explain_itself() -> None:
    text = markdown_page(make_report(sample_plan().model_copy(update={"explanation": ()})))
    assert "It considered 41,203 layouts, of which 2,217 could run. No legal layout of this space" in text


def test_a_layout_that_was_given_is_not_called_the_best() -> None:
    plan = sample_plan()
    search = plan.search.model_copy(update={"considered": 1, "feasible": 1, "optimal": False, "rejected": {}})
    text = markdown_page(make_report(plan.model_copy(update={"search": search, "alternatives": ()})))
    assert "This layout was given, not searched for" in text
    assert "No legal layout" not in text


def test_a_gap_and_idle_devices_are_stated() -> None:
    plan = sample_plan()
    plan = plan.model_copy(
        update={
            "search": plan.search.model_copy(update={"optimal": False, "gap": 0.031, "rejected": {}}),
            "request": plan.request.model_copy(update={"num_gpus": 1030}),
        }
    )
    text = markdown_page(make_report(plan))
    assert "A better layout may exist, by at most 3.1\N{NO-BREAK SPACE}%." in text
    assert "It leaves 6 devices of 1,030 idle." in text
    assert "No layout was rejected." in text


@pytest.mark.parametrize("precision", ["fp32", "nvfp4"])
def test_the_job_is_stated(precision: str) -> None:
    plan = sample_plan()
    job = plan.request.job.model_copy(update={"precision": precision})
    plan = plan.model_copy(update={"request": plan.request.model_copy(update={"job": job})})
    assert f"| Precision | {precision} |" in markdown_page(make_report(plan))


@pytest.mark.parametrize("render", [html_page, markdown_page])
def test_time_memory_and_money_carry_their_error_bars_and_assumptions_are_said(render: Callable[[Report], str]) -> None:
    plan = sample_plan().model_copy(update={"assumptions": ("No collective of this device was measured.",)})
    text = render(make_report(plan))
    for bar in (step_time_bar, memory_bar, price_bar, days_bar):
        words = bar(plan.chosen.estimate)
        assert words is not None
        assert words in text
    assert "fits with the whole error bar" in text
    assert "No collective of this device was measured." in text
