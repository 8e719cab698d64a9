//! Check: whether history is what the catalog says, and whether views count it without hole or overlap.

use std::collections::BTreeSet;

use schemas::LogPosition;
use schemas::ledger::Totals;
use schemas::paths::ObjectKind;

use crate::catalog::Audited;
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

/// What a check told.
#[derive(Debug, Default)]
pub struct Checked {
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// Objects that a crash left behind: no part of history, and no fault.
    pub left_behind: Vec<String>,
}

/// How findings name the catalog.
const CATALOG: &str = "catalog.db";
/// What to do about a damaged catalog.
const RESTORE_CATALOG: &str = "restore the data directory from a backup (`weir restore`); keep this one until then";

/// What to do about an object that can't be verified. A path names its content: any copy of that name is the right one.
pub(crate) fn advice_on(error: &Error, kind: ObjectKind) -> &'static str {
    match (error, kind) {
        (Error::Corrupt { .. }, ObjectKind::View) => {
            "start the server and run `weir recompute`: the view is made anew from raw readings"
        }
        (Error::Corrupt { .. }, ObjectKind::Partials) => {
            "nothing is lost: the epoch is counted from raw readings; `weir recompute` makes that unnecessary"
        }
        (Error::Corrupt { .. }, _) => {
            "copy the file of this name from a backup's `history` to its place; a path names its content"
        }
        _ => "see whether the store is reachable, then check again",
    }
}

impl BatchLayer {
    /// What was wrong on opening, as a finding at the place that the error names.
    pub fn finding_of(error: &Error, place: &str) -> Finding {
        let (place, advice) = match error {
            Error::Corrupt { what, .. } if what.starts_with("catalog") => (CATALOG, RESTORE_CATALOG),
            Error::Corrupt { what, .. } => (what.as_str(), advice_on(error, ObjectKind::Series)),
            _ => (place, "see whether the directory is complete and readable; else restore it from a backup"),
        };
        Finding { place: place.to_owned(), reason: error.to_string(), advice }
    }

    /// Verifies every checksum and every seal, that every object of the catalog exists and every stored object is known, that
    /// epochs and views follow each other without hole or overlap, and that the audit log is whole. `progress` is told
    /// objects done and in all.
    ///
    /// # Errors
    /// The catalog or the store can't be read at all.
    pub async fn check(&self, mut progress: impl FnMut(usize, usize)) -> Result<Checked> {
        let mut findings = Vec::new();
        findings.extend(self.catalog_findings().await?);
        let known = self.inner.catalog.damage().await?;
        let objects = self.inner.catalog.all_objects().await?;
        for (i, (object, kind)) in objects.iter().enumerate() {
            if let Err(error) = self.verify_content(object).await {
                let (advice, mut reason) = (advice_on(&error, *kind), error.to_string());
                if let Some(row) = known.iter().find(|row| row.path == object.path) {
                    reason.push_str(&format!(" (the scrubber found it at {})", row.found_at));
                }
                findings.push(Finding { place: object.path.clone(), reason, advice });
            }
            progress(i + 1, objects.len());
        }
        let known: BTreeSet<&str> = objects.iter().map(|(object, _)| object.path.as_str()).collect();
        let stored = self.inner.objects.list().await?.into_iter().map(|listed| listed.path);
        let left_behind = stored.filter(|path| !known.contains(path.as_str())).collect();
        findings.extend(self.check_epochs().await?);
        findings.extend(self.check_views());
        findings.extend(self.check_audit().await?);
        Ok(Checked { findings, left_behind })
    }

    /// What is wrong with the catalog itself: its form, its seals, the sums of the ledger.
    pub(crate) async fn catalog_findings(&self) -> Result<Vec<Finding>> {
        let finding = |reason| Finding { place: CATALOG.to_owned(), reason, advice: RESTORE_CATALOG };
        let malformed = self.inner.catalog.malformed().await?.into_iter().map(finding);
        let broken = self.inner.catalog.broken_seals().await?.into_iter();
        let broken = broken.map(|table| finding(format!("the rows of {table} are not those that were committed")));
        let mut findings: Vec<Finding> = malformed.chain(broken).collect();
        findings.extend(self.check_ledger().await?);
        Ok(findings)
    }

    async fn check_ledger(&self) -> Result<Vec<Finding>> {
        let Audited { kept, added_up, older } = self.inner.catalog.audit_ledger().await?;
        let finding = |reason| Finding { place: "catalog.db, ledger".to_owned(), reason, advice: RESTORE_CATALOG };
        let mut findings = Vec::new();
        if kept.flushed != kept.history {
            let Totals { flushed, history } = kept;
            findings.push(finding(format!("LED-4: {flushed} were flushed, and history holds {history}")));
        }
        if !older && added_up != kept {
            findings.push(finding(format!("LED-4: its rows add up to {added_up:?} instead of {kept:?}")));
        }
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
                    advice: RESTORE_CATALOG,
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
