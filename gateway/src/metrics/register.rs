//! Where series come from: each is registered once, with its name, its meaning and its labels, and remembered for the
//! documentation.

use prometheus::core::Collector;
use prometheus::{Error, Histogram, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

/// What there is to say of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Described {
    /// Its name.
    pub name: &'static str,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// Its meaning, and what its labels can be.
    pub help: &'static str,
}

/// Registers series.
#[derive(Debug)]
pub(super) struct Registrar {
    registry: Registry,
    described: Vec<Described>,
}

type Labels = &'static [&'static str];

impl Registrar {
    pub(super) fn new(registry: &Registry) -> Self {
        Self { registry: registry.clone(), described: Vec::new() }
    }

    pub(super) fn described(self) -> Vec<Described> {
        self.described
    }

    fn add<C: Collector + Clone + 'static>(&mut self, series: C, described: Described) -> Result<C, Error> {
        self.registry.register(Box::new(series.clone()))?;
        self.described.push(described);
        Ok(series)
    }

    pub(super) fn counters(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: Labels,
    ) -> Result<IntCounterVec, Error> {
        let series = IntCounterVec::new(Opts::new(name, help), labels)?;
        self.add(series, Described { name, kind: "counter", labels, help })
    }

    pub(super) fn gauge(&mut self, name: &'static str, help: &'static str) -> Result<IntGauge, Error> {
        self.add(IntGauge::new(name, help)?, Described { name, kind: "gauge", labels: &[], help })
    }

    pub(super) fn gauges(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: Labels,
    ) -> Result<IntGaugeVec, Error> {
        let series = IntGaugeVec::new(Opts::new(name, help), labels)?;
        self.add(series, Described { name, kind: "gauge", labels, help })
    }

    pub(super) fn histogram(
        &mut self,
        name: &'static str,
        help: &'static str,
        buckets: &[f64],
    ) -> Result<Histogram, Error> {
        let series = Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec()))?;
        self.add(series, Described { name, kind: "histogram", labels: &[], help })
    }

    pub(super) fn histograms(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: Labels,
        buckets: &[f64],
    ) -> Result<HistogramVec, Error> {
        let series = HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets.to_vec()), labels)?;
        self.add(series, Described { name, kind: "histogram", labels, help })
    }
}

/// A number for a gauge.
pub(super) fn whole<N: TryInto<i64>>(number: N) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}
