//! Check: whether history is what the catalog says, and whether views count it without hole or overlap.

use std::collections::BTreeSet;

use schemas::LogPosition;

use crate::error::{Error, Result};
use crate::layer::BatchLayer;

/// Something that is wrong, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Where.
    pub place: String,
    /// What is wrong there.
    pub reason: String,
    /// What to do about it.
    pub advice: &'static str,
}

impl BatchLayer {
    /// Verifies every checksum, that every object of the catalog exists and every stored object is known, that epochs and
    /// views follow each other without hole or overlap, and that the audit log is whole. `progress` is told objects done and in all.
    ///
    /// # Errors
    /// The catalog or the store can't be read at all.
    pub async fn check(&self, mut progress: impl FnMut(usize, usize)) -> Result<Vec<Finding>> {
        let mut findings = Vec::new();
        let objects = self.inner.catalog.all_objects().await?;
        for (i, (object, _)) in objects.iter().enumerate() {
            if let Err(error) = self.inner.objects.verify(object).await {
                let advice = match error {
                    Error::Corrupt { .. } => "restore this file from a backup",
                    _ => "see whether the store is reachable and the file exists",
                };
                findings.push(Finding { place: object.path.clone(), reason: error.to_string(), advice });
            }
            progress(i + 1, objects.len());
        }
        let known: BTreeSet<&str> = objects.iter().map(|(object, _)| object.path.as_str()).collect();
        for (path, _) in self.inner.objects.list().await? {
            if !known.contains(path.as_str()) {
                let reason = "the catalog does not know this file; a crash left it behind".to_owned();
                findings.push(Finding {
                    place: path,
                    reason,
                    advice: "it holds nothing that is missing and may be deleted",
                });
            }
        }
        findings.extend(self.check_epochs().await?);
        findings.extend(self.check_views());
        findings.extend(self.check_audit().await?);
        Ok(findings)
    }

    async fn check_epochs(&self) -> Result<Vec<Finding>> {
        let version = self.version();
        let mut findings = Vec::new();
        let mut next = LogPosition(1);
        for epoch in self.inner.catalog.epochs_between(LogPosition::START, version.flushed).await? {
            if epoch.first != next {
                findings.push(Finding {
                    place: "catalog, epochs".to_owned(),
                    reason: format!("an epoch begins at position {} where {next} should follow", epoch.first),
                    advice: "restore the catalog from a backup",
                });
            }
            next = epoch.last.next();
        }
        Ok(findings)
    }

    async fn check_audit(&self) -> Result<Option<Finding>> {
        let broken = self.inner.catalog.broken_audit().await?;
        Ok(broken.map(|seq| Finding {
            place: "catalog, audit".to_owned(),
            reason: format!(
                "entry {seq} does not follow from the one before: it, or one before, was altered or taken out"
            ),
            advice: "compare it with a backup and find out who changed it",
        }))
    }

    fn check_views(&self) -> Vec<Finding> {
        let version = self.version();
        let finding =
            |reason| Finding { place: "catalog, views".to_owned(), reason, advice: "recompute the partition" };
        let overlaps = version.partitions.windows(2).filter(|pair| pair[0].span.overlaps(&pair[1].span));
        let overlaps =
            overlaps.map(|pair| finding(format!("partitions {} and {} overlap", pair[0].span, pair[1].span)));
        let ahead = version.partitions.iter().filter(|p| p.cut() > version.flushed);
        let ahead = ahead.map(|p| finding(format!("the view of {} counts up to {}, beyond history", p.span, p.cut())));
        overlaps.chain(ahead).collect()
    }
}
