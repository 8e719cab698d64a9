//! Counters of the batch layer: one struct of handles, passed in.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The kind and outcome of a job, from closed sets.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct JobLabels {
    /// What it did.
    pub kind: &'static str,
    /// How it ended.
    pub outcome: &'static str,
}

/// What became of late readings of which the speed layer could not tell whether they are new.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct DoubtLabels {
    /// What was found, or why nobody looked.
    pub outcome: &'static str,
}

/// What went wrong with one attempt at a request to the store.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FaultLabels {
    /// From a closed set.
    reason: &'static str,
}

/// Counts what goes wrong between here and the store, whether or not trying again helped.
#[derive(Debug, Clone, Default)]
pub struct StoreFaults(Family<FaultLabels, Counter>);

impl StoreFaults {
    /// One more for this reason.
    pub(crate) fn count(&self, reason: &'static str) {
        self.0.get_or_create(&FaultLabels { reason }).inc();
    }
}

/// Handles of all counters.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    /// Readings (arrivals) written to history.
    pub flushed: Counter,
    /// Late readings looked up in history when they were flushed, by what was found.
    pub doubts: Family<DoubtLabels, Counter>,
    /// Generations published.
    pub publishes: Counter,
    /// The current generation.
    pub generation: Gauge,
    /// Partitions touched by readings that their views have not counted.
    pub dirty_partitions: Gauge,
    /// Jobs ended, by kind and outcome.
    pub jobs: Family<JobLabels, Counter>,
    /// Readings read by recomputes and audits.
    pub rows_read: Counter,
    /// Objects deleted because nothing needs them.
    pub objects_deleted: Counter,
    /// What went wrong between here and the store.
    pub store_faults: StoreFaults,
}

impl Metrics {
    /// Registers all counters.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let batch = registry.sub_registry_with_prefix("weir_batch");
        batch.register("readings_flushed", "Arrivals written to history", metrics.flushed.clone());
        let doubts = "Late readings of which memory could not tell whether they are new, by what history said";
        batch.register("readings_doubtful", doubts, metrics.doubts.clone());
        batch.register("publishes", "Generations published", metrics.publishes.clone());
        batch.register("generation", "The current generation", metrics.generation.clone());
        batch.register(
            "dirty_partitions",
            "Partitions with readings after their cut",
            metrics.dirty_partitions.clone(),
        );
        batch.register("jobs", "Jobs ended, by kind and outcome", metrics.jobs.clone());
        batch.register("rows_read", "Readings read by recomputes and audits", metrics.rows_read.clone());
        batch.register(
            "objects_deleted",
            "Objects deleted because nothing needs them",
            metrics.objects_deleted.clone(),
        );
        let faults = "Attempts at requests to the store that went wrong, by reason; most are made again";
        batch.register("store_faults", faults, metrics.store_faults.0.clone());
        metrics
    }

    /// Counts `n` late readings of which this was found.
    pub(crate) fn doubts(&self, outcome: &'static str, n: usize) {
        if n > 0 {
            self.doubts.get_or_create(&DoubtLabels { outcome }).inc_by(n as u64);
        }
    }
}
