//! What nothing reachable needs any more.
//!
//! Owns the decision which generations end, which epochs drop their partials and which objects may be deleted. Does not
//! own the deletion itself: [`Catalog::prune`] condemns, the caller deletes, [`Catalog::forget`] forgets. A crash in
//! between leaves condemned rows, and the next prune names them again. CAT-2 holds throughout: a condemned object can't
//! be committed, so nothing comes to need an object while it is being deleted.
//!
//! A generation is superseded when the next one is published. Generation 0, before the first publish, counts too: the
//! partials of an epoch stay until views of *every* reachable generation count it, so that a revert loses nothing.

use std::collections::{BTreeMap, BTreeSet};

use schemas::time::ArrivalTime;
use sqlx::sqlite::SqliteConnection;

use super::copy::is_held;
use super::rows::Columns;
use super::{Attempt, Catalog};
use crate::error::{Error, Result};

impl Catalog {
    /// Ends generations that were superseded at least `generation_grace_ns` ago, and names the objects to delete:
    /// readings and series replaced at least `file_grace_ns` ago, views of ended generations only, and partials of
    /// epochs that every reachable generation counts. What it names stays named until [`Catalog::forget`].
    ///
    /// # Errors
    /// The catalog can't be written or is corrupt. Nothing is condemned then.
    pub async fn prune(&self, now: ArrivalTime, generation_grace_ns: i64, file_grace_ns: i64) -> Result<Vec<String>> {
        // Mostly there is nothing to do, which is found out without looking at every row.
        let mut tx = self.begin().await?;
        let (changes, paths) = prune(&mut tx, now, generation_grace_ns, file_grace_ns).await?;
        if changes == 0 {
            return Ok(paths);
        }
        drop(tx);
        let mut tx = self.begin_sealed().await?;
        let (_, paths) = prune(&mut tx, now, generation_grace_ns, file_grace_ns).await?;
        self.commit_sealed(tx, "prune the catalog").await?;
        Ok(paths)
    }

    /// Forgets objects that [`Catalog::prune`] named and that are no longer in the store. Unknown ones are ignored.
    ///
    /// # Errors
    /// Something still needs an object of these, which should not have been deleted; or the catalog can't be written.
    /// None is forgotten then.
    pub async fn forget(&self, paths: &[String]) -> Result<()> {
        let mut tx = self.begin_sealed().await?;
        for path in paths {
            let live = sqlx::query("SELECT path FROM objects WHERE path = $1 AND condemned_at IS NULL")
                .bind(path)
                .fetch_optional(&mut *tx)
                .await
                .attempt("look an object up")?;
            if live.is_some() {
                return Err(Error::Refused(format!("{path} is needed and can't be forgotten")));
            }
            sqlx::query("DELETE FROM objects WHERE path = $1")
                .bind(path)
                .execute(&mut *tx)
                .await
                .attempt("forget an object")?;
        }
        self.commit_sealed(tx, "forget objects").await
    }
}

/// Ends, drops and condemns; how many rows that changed, and all that is condemned. Nothing while somebody copies history.
async fn prune(
    conn: &mut SqliteConnection,
    now: ArrivalTime,
    generation_grace_ns: i64,
    file_grace_ns: i64,
) -> Result<(u64, Vec<String>)> {
    if is_held(conn, now).await? {
        return Ok((0, Vec::new()));
    }
    let reach = oldest_reachable(&unpruned(conn).await?, now.0.saturating_sub(generation_grace_ns));
    let mut changes = end_generations(conn, reach, now).await?;
    for epoch in droppable_epochs(conn, reach).await? {
        drop_epoch(conn, epoch, now).await?;
        changes += 1;
    }
    changes += condemn(conn, now, now.0.saturating_sub(file_grace_ns)).await?;
    Ok((changes, condemned(conn).await?))
}

/// Number and instant of publication of the generations that are not pruned, by number.
async fn unpruned(conn: &mut SqliteConnection) -> Result<Vec<(i64, i64)>> {
    sqlx::query_as("SELECT number, published_at FROM generations WHERE pruned_at IS NULL ORDER BY number")
        .fetch_all(conn)
        .await
        .attempt("read generations")
}

/// The oldest generation that was current after `cutoff`, of these and, where none was pruned yet, generation 0.
fn oldest_reachable(unpruned: &[(i64, i64)], cutoff: i64) -> i64 {
    let first = match unpruned.first() {
        Some((number, _)) if *number > 1 => *number,
        _ => 0,
    };
    // A clock that was set back must not end a generation before an older one: only an unbroken run from the start counts.
    unpruned.iter().take_while(|(_, published_at)| *published_at <= cutoff).last().map_or(first, |(number, _)| *number)
}

async fn end_generations(conn: &mut SqliteConnection, reach: i64, now: ArrivalTime) -> Result<u64> {
    let ended = sqlx::query("UPDATE generations SET pruned_at = $1 WHERE pruned_at IS NULL AND number < $2")
        .bind(now.0)
        .bind(reach)
        .execute(&mut *conn)
        .await
        .attempt("end generations")?;
    let forgotten = sqlx::query("DELETE FROM views WHERE until_generation <= $1")
        .bind(reach)
        .execute(conn)
        .await
        .attempt("forget views")?;
    Ok(ended.rows_affected() + forgotten.rows_affected())
}

/// A view that is current in some reachable generation.
#[derive(Debug, Clone, Copy)]
struct Tenure {
    partition: i64,
    cut: i64,
    from: i64,
    until: Option<i64>,
}

/// For each partition the position up to which *every* reachable generation counts; partitions that lack a view in one
/// of them are absent. `tenures` are sorted by partition and first generation.
fn floors(tenures: &[Tenure], reach: i64) -> BTreeMap<i64, i64> {
    tenures
        .chunk_by(|a, b| a.partition == b.partition)
        .filter(|views| {
            let unbroken = views.windows(2).all(|pair| pair[0].until == Some(pair[1].from));
            unbroken && views[0].from <= reach && views[views.len() - 1].until.is_none()
        })
        .map(|views| (views[0].partition, views.iter().map(|v| v.cut).fold(i64::MAX, i64::min)))
        .collect()
}

async fn droppable_epochs(conn: &mut SqliteConnection, reach: i64) -> Result<Vec<i64>> {
    let views: Vec<(i64, i64, i64, Option<i64>)> =
        sqlx::query_as("SELECT partition_start, cut_position, from_generation, until_generation FROM views ORDER BY partition_start, from_generation")
            .fetch_all(&mut *conn)
            .await
            .attempt("read reachable views")?;
    let tenures: Vec<Tenure> =
        views.into_iter().map(|(partition, cut, from, until)| Tenure { partition, cut, from, until }).collect();
    let touched: Vec<(i64, Option<i64>)> = sqlx::query_as(
        "SELECT e.last_position, ep.partition_start FROM epochs e LEFT JOIN epoch_partitions ep ON ep.last_position = e.last_position \
         WHERE e.dropped_at IS NULL ORDER BY e.last_position",
    )
    .fetch_all(conn)
    .await
    .attempt("read epochs")?;
    Ok(covered(&touched, &floors(&tenures, reach)))
}

/// The epochs, of pairs (last position, partition that it touches), that are counted wherever they touch.
fn covered(touched: &[(i64, Option<i64>)], floors: &BTreeMap<i64, i64>) -> Vec<i64> {
    let counted = |last: i64, partition: Option<i64>| {
        partition.is_none_or(|p| floors.get(&p).is_some_and(|floor| last <= *floor))
    };
    let open: BTreeSet<i64> = touched.iter().filter(|(last, p)| !counted(*last, *p)).map(|(last, _)| *last).collect();
    let mut covered: Vec<i64> = touched.iter().map(|(last, _)| *last).filter(|last| !open.contains(last)).collect();
    covered.dedup();
    covered
}

async fn drop_epoch(conn: &mut SqliteConnection, last: i64, now: ArrivalTime) -> Result<()> {
    sqlx::query("DELETE FROM epoch_partitions WHERE last_position = $1")
        .bind(last)
        .execute(&mut *conn)
        .await
        .attempt("drop an epoch")?;
    sqlx::query("UPDATE epochs SET dropped_at = $1, partials_path = NULL WHERE last_position = $2")
        .bind(now.0)
        .bind(last)
        .execute(conn)
        .await
        .attempt("drop an epoch")?;
    Ok(())
}

/// Condemns what nothing refers to. Superseded objects wait for their grace: somebody may still be reading them.
async fn condemn(conn: &mut SqliteConnection, now: ArrivalTime, cutoff: i64) -> Result<u64> {
    let condemned = sqlx::query(
        "UPDATE objects SET condemned_at = $1 \
         WHERE condemned_at IS NULL AND (superseded_at IS NULL OR superseded_at <= $2) \
         AND NOT EXISTS (SELECT 1 FROM files r WHERE r.path = objects.path) \
         AND NOT EXISTS (SELECT 1 FROM views r WHERE r.path = objects.path) \
         AND NOT EXISTS (SELECT 1 FROM epochs r WHERE r.partials_path = objects.path) \
         AND NOT EXISTS (SELECT 1 FROM series_files r WHERE r.path = objects.path) \
         AND NOT EXISTS (SELECT 1 FROM quarantine_files r WHERE r.path = objects.path)",
    )
    .bind(now.0)
    .bind(cutoff)
    .execute(conn)
    .await
    .attempt("condemn objects")?;
    Ok(condemned.rows_affected())
}

async fn condemned(conn: &mut SqliteConnection) -> Result<Vec<String>> {
    let rows = sqlx::query("SELECT path FROM objects WHERE condemned_at IS NOT NULL ORDER BY path")
        .fetch_all(conn)
        .await
        .attempt("list condemned objects")?;
    rows.iter().map(|row| Columns::of(row).get()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generations_end_when_their_successor_is_older_than_the_grace() {
        let check = |unpruned: &[(i64, i64)], cutoff, expected| {
            assert_eq!(oldest_reachable(unpruned, cutoff), expected, "{unpruned:?} {cutoff}")
        };
        check(&[], 100, 0);
        check(&[(1, 10), (2, 20), (3, 30)], 9, 0);
        check(&[(1, 10), (2, 20), (3, 30)], 10, 1);
        check(&[(1, 10), (2, 20), (3, 30)], 29, 2);
        check(&[(1, 10), (2, 20), (3, 30)], 1_000, 3);
        check(&[(5, 50), (6, 60)], 40, 5);
        check(&[(5, 50), (6, 10), (7, 70)], 40, 5);
    }

    #[test]
    fn a_floor_needs_a_view_in_every_reachable_generation() {
        let tenure = |partition, cut, from, until| Tenure { partition, cut, from, until };
        let tenures = [
            tenure(0, 5, 1, Some(3)),
            tenure(0, 9, 3, Some(4)),
            tenure(0, 5, 4, None),
            tenure(1, 9, 3, None),
            tenure(2, 9, 1, Some(4)),
            tenure(3, 9, 1, Some(3)),
            tenure(3, 9, 4, None),
        ];
        assert_eq!(floors(&tenures, 2), BTreeMap::from([(0, 5)]));
        assert_eq!(floors(&tenures, 3), BTreeMap::from([(0, 5), (1, 9)]));
    }

    #[test]
    fn an_epoch_is_covered_when_all_that_it_touches_is() {
        let floors = BTreeMap::from([(0, 5), (1, 9)]);
        let touched = [
            (3, Some(0)),
            (3, Some(1)),
            (4, None),
            (5, Some(0)),
            (5, Some(2)),
            (7, Some(0)),
            (7, Some(1)),
            (9, Some(1)),
        ];
        assert_eq!(covered(&touched, &floors), [3, 4, 9]);
    }
}
