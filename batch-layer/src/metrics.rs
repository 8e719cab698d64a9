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

/// An equation of the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct EquationLabel {
    /// Its name, such as `LED-2`.
    pub equation: &'static str,
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
    /// Attempts at jobs that ended, by kind and outcome; postponed ones wait for room on the disk.
    pub jobs: Family<JobLabels, Counter>,
    /// Readings read by recomputes and audits.
    pub rows_read: Counter,
    /// Objects deleted because nothing needs them.
    pub objects_deleted: Counter,
    /// Objects deleted that the catalog never named.
    pub orphans_deleted: Counter,
    /// What went wrong between here and the store.
    pub store_faults: StoreFaults,
    /// Flushes, compactions and recomputes refused because the ledger does not add up, by equation.
    pub ledger_refusals: Family<EquationLabel, Counter>,
    /// Objects that the scrubber read and found whole.
    pub scrubbed_objects: Counter,
    /// Bytes of them.
    pub scrubbed_bytes: Counter,
    /// Passes of the scrubber over everything.
    pub scrub_passes: Counter,
    /// Damaged objects that are whole again, or not needed any more.
    pub scrub_repaired: Counter,
    /// Objects, and parts of the catalog, that are damaged.
    pub damaged: Gauge,
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
        batch.register("jobs", "Attempts at jobs that ended, by kind and outcome", metrics.jobs.clone());
        batch.register("rows_read", "Readings read by recomputes and audits", metrics.rows_read.clone());
        batch.register(
            "objects_deleted",
            "Objects deleted because nothing needs them",
            metrics.objects_deleted.clone(),
        );
        let orphans = "Objects deleted that no commit ever named";
        batch.register("orphans_deleted", orphans, metrics.orphans_deleted.clone());
        let faults = "Attempts at requests to the store that went wrong, by reason; most are made again";
        batch.register("store_faults", faults, metrics.store_faults.0.clone());
        let refusals = "Flushes, compactions and recomputes refused because the ledger does not add up";
        batch.register("ledger_refusals", refusals, metrics.ledger_refusals.clone());
        let scrub = registry.sub_registry_with_prefix("weir_scrub");
        scrub.register("objects", "Objects that were read and found whole", metrics.scrubbed_objects.clone());
        scrub.register("bytes", "Bytes that were read and found whole", metrics.scrubbed_bytes.clone());
        scrub.register("passes", "Passes over everything", metrics.scrub_passes.clone());
        scrub.register("repaired", "Damage that was mended or is not needed any more", metrics.scrub_repaired.clone());
        scrub.register("damaged", "Objects and parts of the catalog that are damaged", metrics.damaged.clone());
        metrics
    }

    /// Counts work that was refused because this equation does not hold.
    pub(crate) fn ledger(&self, equation: &'static str) {
        self.ledger_refusals.get_or_create(&EquationLabel { equation }).inc();
    }

    /// Counts `n` late readings of which this was found.
    pub(crate) fn doubts(&self, outcome: &'static str, n: usize) {
        if n > 0 {
            self.doubts.get_or_create(&DoubtLabels { outcome }).inc_by(n as u64);
        }
    }
}
