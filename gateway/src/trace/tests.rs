use super::*;
use crate::metrics::Metrics;

fn context(sampled: bool) -> Context {
    let flags = u8::from(sampled);
    Context::parse(&format!("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0{flags}"), None).unwrap()
}

fn tracer(ratio: f64, follow_callers: bool) -> (Arc<Tracer>, Exporter, Metrics) {
    let metrics = Metrics::new().unwrap();
    let collector = Collector { endpoint: "http://127.0.0.1:9/v1/traces".to_owned(), headers: Vec::new() };
    let (tracer, exporter) = Tracer::new(collector, Sampling { ratio, follow_callers }, metrics.spans.clone());
    (tracer, exporter, metrics)
}

#[test]
fn a_callers_decision_counts_where_it_is_followed_and_the_ratio_elsewhere() {
    for (ratio, follow, parent, sampled) in [
        (0.0, true, Some(true), true),
        (1.0, true, Some(false), false),
        (0.0, true, None, false),
        (1.0, true, None, true),
        (0.0, false, Some(true), false),
        (1.0, false, Some(false), true),
    ] {
        let (tracer, ..) = tracer(ratio, follow);
        let span = tracer.begin(parent.map(context).as_ref());
        assert_eq!(span.is_some(), sampled, "{ratio} {follow} {parent:?}");
        if let (Some(span), Some(_)) = (span, parent) {
            assert_eq!(span.trace_id(), context(true).trace_id, "a trace is gone on with");
            assert_eq!(span.parent, Some(context(true).span_id));
        }
    }
}

#[test]
fn what_finds_the_queue_full_is_dropped_and_counted() {
    let (tracer, _exporter, metrics) = tracer(1.0, false);
    for _ in 0..QUEUE + 7 {
        tracer.take(tracer.begin(None).unwrap());
    }
    assert_eq!(metrics.spans.dropped.get(), 7);
}

#[tokio::test]
async fn a_collector_that_is_not_there_is_counted_and_waited_for_by_nobody() {
    let (tracer, exporter, metrics) = tracer(1.0, false);
    let running = tokio::spawn(exporter.run());
    tracer.take(tracer.begin(None).unwrap());
    tracer.close().await;
    assert_eq!((metrics.spans.failed.get(), metrics.spans.exported.get()), (1, 0));
    drop(tracer);
    running.await.unwrap().unwrap();
}
