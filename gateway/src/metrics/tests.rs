use std::time::Duration;

use super::operations::{MAX_NAMES, Side};
use super::*;
use crate::mcp::Method;

fn text(metrics: &Metrics) -> String {
    String::from_utf8(metrics.encode().unwrap()).unwrap()
}

fn series(metrics: &Metrics) -> usize {
    text(metrics).lines().filter(|line| !line.starts_with('#')).count()
}

#[test]
fn every_series_is_exposed() {
    let metrics = Metrics::new().unwrap();
    metrics.backend("weather").denied(Reason::Policy);
    assert!(
        text(&metrics).contains(r#"portcullis_decisions_total{backend="weather",decision="deny",reason="policy"} 1"#)
    );
    assert!(text(&metrics).contains("portcullis_streams 0"));
}

#[test]
fn names_that_callers_invent_make_no_series() {
    let metrics = Metrics::new().unwrap();
    let backend = metrics.backend("weather");
    let call = |tool: &str, error| {
        let timed = backend.operations.of(Method::ToolsCall, Some(tool), |tool| tool.starts_with("known")).unwrap();
        backend.operations.observe(Side::Server, &timed, Duration::from_millis(3), error);
        backend.operations.observe(Side::Client, &timed, Duration::from_millis(2), None);
    };
    call("known", None);
    call("invented", Some("policy"));
    let before = series(&metrics);
    for number in 0..100_000 {
        call(&format!("invented-{number}"), Some("policy"));
    }
    assert_eq!(series(&metrics), before);
    let text = text(&metrics);
    assert!(text.contains(
        r#"mcp_server_operation_duration_seconds_count{backend="weather",error_type="policy",gen_ai_prompt_name="",gen_ai_tool_name="other",mcp_method_name="tools/call"} 100001"#
    ));
    assert!(
        text.contains(r#"{backend="weather",error_type="",gen_ai_prompt_name="",gen_ai_tool_name="known",mcp_method_name="tools/call"} 1"#)
    );
    assert!(!text.contains("invented"));
}

#[test]
fn a_prompt_that_the_policy_names_has_its_series_and_is_no_tool() {
    let metrics = Metrics::new().unwrap();
    let backend = metrics.backend("weather");
    for name in ["summary", "invented", "summary"] {
        let timed = backend.operations.of(Method::PromptsGet, Some(name), |name| name == "summary").unwrap();
        assert_eq!(timed.tool(), None);
        backend.operations.observe(Side::Server, &timed, Duration::ZERO, None);
    }
    // A tool of the same name is another thing.
    let tool = backend.operations.of(Method::ToolsCall, Some("summary"), |_| true).unwrap();
    backend.operations.observe(Side::Server, &tool, Duration::ZERO, None);
    let text = text(&metrics);
    for (prompt, tool, method, count) in
        [("summary", "", "prompts/get", 2), ("other", "", "prompts/get", 1), ("", "summary", "tools/call", 1)]
    {
        let line = format!(
            "mcp_server_operation_duration_seconds_count{{backend=\"weather\",error_type=\"\",gen_ai_prompt_name=\"{prompt}\",gen_ai_tool_name=\"{tool}\",mcp_method_name=\"{method}\"}} {count}"
        );
        assert!(text.lines().any(|found| found == line), "`{line}` is not in\n{text}");
    }
    assert!(!text.contains("invented"));
}

#[test]
fn a_catalogue_without_end_makes_so_many_series_and_no_more() {
    let backend = Metrics::new().unwrap().backend("weather");
    let named = |number: usize| {
        let timed = backend.operations.of(Method::ToolsCall, Some(&format!("tool-{number}")), |_| true).unwrap();
        timed.tool().is_some()
    };
    assert_eq!((0..MAX_NAMES * 2).filter(|number| named(*number)).count(), MAX_NAMES);
    assert!(named(0), "who was there first has its series still");
}

#[test]
fn each_method_has_its_own_series() {
    let metrics = Metrics::new().unwrap();
    let backend = metrics.backend("weather");
    for method in Method::ALL {
        let timed = backend.operations.of(*method, None, |_| true).unwrap();
        backend.operations.observe(Side::Server, &timed, Duration::ZERO, None);
    }
    for method in Method::ALL {
        assert!(text(&metrics).contains(&format!("mcp_method_name=\"{}\"}} 1", method.as_str())), "{method:?}");
    }
}

/// `docs/metrics.md` is written by hand around a table, which is this.
#[test]
fn the_documentation_lists_every_metric() {
    let metrics = Metrics::new().unwrap();
    let row = |metric: &Described| {
        let labels = metric.labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
        format!("| `{}` | {} | {labels} | {} |\n", metric.name, metric.kind, metric.help)
    };
    let table = metrics.described().iter().map(row).collect::<String>();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");
    let document = std::fs::read_to_string(file).unwrap();
    assert!(document.contains(&table), "put this into docs/metrics.md:\n{table}");
    let listed = document.lines().filter(|line| line.starts_with("| `")).count();
    assert_eq!(listed, metrics.described().len(), "it lists what there is not");
}
