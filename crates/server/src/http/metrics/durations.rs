//! Histograms of what was counted elsewhere, by those who know nothing of Prometheus.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, NoLabelSet},
    metrics::MetricType,
    registry::Registry,
};
use strongroom_core::{DurationsReading, durations::BOUNDS_MICROS};

#[derive(Debug)]
struct Counted {
    name: &'static str,
    help: &'static str,
    reading: DurationsReading,
}

impl Collector for Counted {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut metric =
            encoder.encode_descriptor(self.name, self.help, None, MetricType::Histogram)?;
        let bounds = BOUNDS_MICROS.map(|micros| micros as f64 / 1e6);
        let bounds = bounds.into_iter().chain([f64::INFINITY]);
        let buckets: Vec<_> = bounds.zip(self.reading.buckets).collect();
        let (sum, count) = (self.reading.total.as_secs_f64(), self.reading.count());
        metric.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }
}

pub(super) fn durations(
    registry: &mut Registry,
    name: &'static str,
    help: &'static str,
    reading: DurationsReading,
) {
    let counted = Counted {
        name,
        help,
        reading,
    };
    registry.register_collector(Box::new(counted));
}
