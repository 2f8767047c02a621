"""Dashboard and alert rules, by promtool and against what a live daemon tells."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from control_client import Control
from harness import DEADLINE_S, run_cli
from quotehelper.node.telemetry import HARDWARE_OBSTACLES, METRICS, MetricKind

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness import Daemon

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy/dashboards"
ALERTS = DEPLOY / "alerts.yaml"
RULES: list[dict[str, Any]] = yaml.safe_load(ALERTS.read_text())["groups"][0]["rules"]
DASHBOARD: dict[str, Any] = json.loads((DEPLOY / "quotehelper.json").read_text())
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
QUERIES = [(panel["title"], target["expr"]) for panel in PANELS for target in panel.get("targets", ())]
EXPRESSIONS = [(rule["alert"], rule["expr"]) for rule in RULES] + QUERIES
SERIES = {
    f"{metric.name}{suffix}": {*metric.labels, *(("le",) if suffix == "_bucket" else ())}
    for metric in METRICS
    for suffix in (("_bucket", "_sum", "_count") if metric.kind is MetricKind.HISTOGRAM else ("",))
}
"""The labels of every series there can be."""
SCRAPED = {"instance", "job"}
"""Labels that Prometheus adds."""


class Case(NamedTuple):
    """Series, one value a minute, at the end of which an alert must fire, and series for which it must not."""

    alert: str
    firing: tuple[str, str]
    quiet: tuple[str, str]


HOUR = 3600
CASES = [
    Case("QuotehelperAbsent", ("other", "1x400"), ("quotehelper_ready", "1x400")),
    Case(
        "QuotehelperNotAlive",
        ("quotehelper_heartbeat_age_seconds", "6x400"),
        ("quotehelper_heartbeat_age_seconds", "1x400"),
    ),
    Case("QuotehelperNotReady", ("quotehelper_ready", "0x400"), ("quotehelper_ready", "1x400")),
    Case(
        "QuotehelperQuotesFail",
        ('quotehelper_quote_seconds_count{outcome="unavailable"}', "0+60x400"),
        ('quotehelper_quote_seconds_count{outcome="refused"}', "0+60x400"),
    ),
    Case(
        "QuotehelperOverloaded",
        ('quotehelper_quote_seconds_count{outcome="busy"}', "0+60x400"),
        ('quotehelper_quote_seconds_count{outcome="quoted"}', "0+60x400"),
    ),
    Case(
        "QuotehelperSlow",
        ('quotehelper_quote_seconds_bucket{outcome="quoted",le="8.388608"}', "0+60x400"),
        ('quotehelper_quote_seconds_bucket{outcome="quoted",le="0.000256"}', "0+60x400"),
    ),
    Case(
        "QuotehelperProcessesRestart",
        ('quotehelper_restarts_total{process="worker"}', "0+1x400"),
        ('quotehelper_restarts_total{process="worker"}', "0x200 1x199"),
    ),
    Case(
        "QuotehelperWorkerHangs",
        ("quotehelper_workers_killed_total", "0x380 1x19"),
        ("quotehelper_workers_killed_total", "1x400"),
    ),
    Case(
        "QuotehelperTcbNotUpToDate",
        ('quotehelper_tcb_status{status="OutOfDate"}', "1x400"),
        ('quotehelper_tcb_status{status="UpToDate"}', "1x400"),
    ),
    Case(
        "QuotehelperVerificationEndsSoon",
        ('quotehelper_document_expiry_timestamp_seconds{document="tcb_info"}', f"{10 * 24 * HOUR}x400"),
        ('quotehelper_document_expiry_timestamp_seconds{document="tcb_info"}', f"{20 * 24 * HOUR}x400"),
    ),
    Case(
        "QuotehelperVerificationEndsSoon",
        ('quotehelper_document_expiry_timestamp_seconds{document="pck_certificate"}', f"{20 * 24 * HOUR}x400"),
        ('quotehelper_document_expiry_timestamp_seconds{document="pck_certificate"}', f"{80 * 24 * HOUR}x400"),
    ),
    Case(
        "QuotehelperVerificationEnded",
        ('quotehelper_document_expiry_timestamp_seconds{document="tcb_info"}', f"{HOUR}x400"),
        ('quotehelper_document_expiry_timestamp_seconds{document="tcb_info"}', f"{24 * HOUR}x400"),
    ),
    Case(
        "QuotehelperCertificateEndsSoon",
        ("quotehelper_certificate_expiry_timestamp_seconds", f"{20 * 24 * HOUR}x400"),
        ("quotehelper_certificate_expiry_timestamp_seconds", f"{80 * 24 * HOUR}x400"),
    ),
    Case(
        "QuotehelperOutlookStale",
        ("quotehelper_outlook_timestamp_seconds", "0x400"),
        ("quotehelper_outlook_timestamp_seconds", "0+60x400"),
    ),
    Case(
        "QuotehelperHardwareMissing",
        ("quotehelper_hardware_obstacles", "2x400"),
        ("quotehelper_hardware_obstacles", "0x400"),
    ),
    Case(
        "QuotehelperFormerEnclaveRefused",
        ('quotehelper_former_enclave_reports_total{outcome="refused"}', "0x380 1x19"),
        ('quotehelper_former_enclave_reports_total{outcome="quoted"}', "0x380 1x19"),
    ),
]
BESIDE = [
    ('quotehelper_state{state="serving"}', "1x400"),
    ('quotehelper_quote_seconds_bucket{outcome="quoted",le="+Inf"}', "0+60x400"),
    ('quotehelper_quote_seconds_bucket{outcome="quoted",le="4.194304"}', "0x400"),
]
"""What other series are there meanwhile."""


@pytest.fixture(scope="module")
def promtool(no_interop_tool: Callable[[str], None]) -> Callable[..., str]:
    """Run promtool, which must agree."""
    found = shutil.which("promtool")
    if found is None:
        no_interop_tool("promtool")
        raise AssertionError

    def run(*arguments: str, text: str = "") -> str:
        done = subprocess.run(
            [found, *arguments], input=text, capture_output=True, text=True, check=False, timeout=DEADLINE_S
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


def names(expression: str) -> set[str]:
    return set(re.findall(r"quotehelper_\w+", expression))


def matched_labels(expression: str) -> dict[str, set[str]]:
    """The labels that a query asks of each series, in braces."""
    return {
        series: set(re.findall(r"(\w+)\s*(?:=|!)", matchers))
        for series, matchers in re.findall(r"(quotehelper_\w+)\{([^}]*)\}", expression)
    }


def test_the_rules_are_rules(promtool: Callable[..., str]) -> None:
    assert f"{len(RULES)} rules found" in promtool("check", "rules", str(ALERTS))


def test_the_dashboards_queries_are_queries(promtool: Callable[..., str], tmp_path: Path) -> None:
    rules = [
        {"record": f"panel:{number}", "expr": query.replace("$__rate_interval", "5m").replace("$instance", ".*")}
        for number, (_title, query) in enumerate(QUERIES)
    ]
    file = tmp_path / "dashboard.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    assert f"{len(rules)} rules found" in promtool("check", "rules", "--lint=none", str(file))


@pytest.mark.parametrize(("where", "expression"), EXPRESSIONS, ids=[where for where, _ in EXPRESSIONS])
def test_every_series_that_is_asked_for_exists_with_its_labels(where: str, expression: str) -> None:
    assert names(expression), where
    assert names(expression) <= SERIES.keys()
    for series, labels in matched_labels(expression).items():
        assert labels <= SERIES[series] | SCRAPED


def test_the_dashboard_shows_every_metric() -> None:
    shown = {name for _title, query in QUERIES for name in names(query)}
    assert {
        metric.name for metric in METRICS if not {name for name in SERIES if name.startswith(metric.name)} & shown
    } == set()


def test_a_live_daemon_tells_all_that_is_asked_for(
    start_daemon: Callable[..., Daemon], state: Path, tmp_path: Path, promtool: Callable[..., str]
) -> None:
    run_cli("simulate", "export-collateral", "--state", str(state), "--out", str(tmp_path / "c"))
    control = Control(tmp_path / "metrics.socket")
    options = ["--metrics", str(control.path), "--self-check-interval", "1"]
    start_daemon([*options, "--bundle", str(tmp_path / "c/collateral.json")])
    control.wait_for_metric("quotehelper_tcb_status", 1, status="UpToDate")
    text = control.get("/metrics")[2].decode()
    told = {sample.name for family in text_string_to_metric_families(text) for sample in family.samples}
    asked = {name for _where, expression in EXPRESSIONS for name in names(expression)}
    assert asked - told == {HARDWARE_OBSTACLES.name}
    promtool("check", "metrics", text=text)


def test_every_alert_fires_when_it_should_and_only_then(promtool: Callable[..., str], tmp_path: Path) -> None:
    assert {case.alert for case in CASES} == {rule["alert"] for rule in RULES}
    tests = []
    for case in CASES:
        for (series, values), samples in ((case.firing, [{"labels": "{}", "value": 1}]), (case.quiet, [])):
            given = [(name, told) for name, told in BESIDE if name != series] + [(series, values)]
            tests.append(
                {
                    "interval": "1m",
                    "name": f"{case.alert} {series} {values}",
                    "input_series": [{"series": name, "values": told} for name, told in given],
                    "promql_expr_test": [
                        {
                            "expr": f'count(ALERTS{{alertname="{case.alert}", alertstate="firing"}})',
                            "eval_time": "390m",
                            "exp_samples": samples,
                        }
                    ],
                }
            )
    file = tmp_path / "tests.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [str(ALERTS)], "evaluation_interval": "1m", "tests": tests}))
    assert "SUCCESS" in promtool("test", "rules", str(file))


@pytest.mark.parametrize("rule", RULES, ids=[rule["alert"] for rule in RULES])
def test_an_alert_says_cause_and_remedy_and_where_to_read_on(rule: dict[str, Any]) -> None:
    annotations = rule["annotations"]
    assert annotations.keys() == {"summary", "cause", "remedy", "runbook"}
    assert all(annotations.values())
    assert rule["labels"]["severity"] in {"warning", "critical"}
    assert annotations["runbook"] == "docs/operations.md#alerts"
    page = (ROOT / "docs/operations.md").read_text().split("## Alerts\n", 1)[1]
    assert f"| `{rule['alert']}` | {rule['labels']['severity']} |" in page


def test_panels_have_their_own_numbers_and_places() -> None:
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    places = [(p["gridPos"]["y"], p["gridPos"]["x"]) for p in PANELS]
    assert len(set(places)) == len(places)
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in PANELS)
