//! Damage of every kind in every kind of file: whatever it is, an answer is the truth or an error that names the file, and
//! what does not need the file is answered. `WEIR_FLIPS=n` flips so many bits of history, a tenth as many of the catalog, and
//! forges as many files.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use batch_layer::catalog::{Catalog, EpochRow, GenerationRow};
use batch_layer::history::{Objects, Selection, read_cells, read_series, scan};
use batch_layer::{Error, Result};
use bytes::Bytes;
use futures::TryStreamExt as _;
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt as _};
use schemas::history::{ReadingColumns, StoredReading};
use schemas::paths::ObjectKind;
use schemas::view::{FileRef, HistoryVersion, ObjectRef};
use schemas::{LogPosition, SeriesId};
use tests::damage::{Data, ask, blocks, copy_dir, entries, flip, flips, open_copy};
use tests::parts::scratch;
use tests::server::binary;

/// A stored object and all that is needed to read it.
struct Stored {
    object: ObjectRef,
    kind: ObjectKind,
    rows: u64,
    bytes: Bytes,
}

/// What the reader of an object's kind makes of bytes that lie at its place.
async fn read(stored: &Stored, bytes: Bytes) -> Result<String> {
    let store = Arc::new(InMemory::new());
    store.put(&stored.object.path.as_str().into(), bytes.into()).await.expect("memory takes it");
    let objects = Objects::new(store as Arc<dyn ObjectStore>);
    match stored.kind {
        ObjectKind::Readings | ObjectKind::Quarantine => {
            let file = FileRef {
                object: stored.object.clone(),
                positions: (LogPosition::START, LogPosition(u64::MAX)),
                event_bounds: (i64::MIN, i64::MAX),
                series_bounds: (SeriesId(0), SeriesId(u64::MAX)),
                rows: stored.rows,
                sum: None,
            };
            let mut rows: Vec<StoredReading> = Vec::new();
            let mut batches = scan(objects, Arc::new(file), Selection::ALL);
            while let Some(batch) = batches.try_next().await? {
                let columns = ReadingColumns::of(&batch)?;
                rows.extend((0..columns.len()).map(|i| columns.get(i)));
            }
            Ok(format!("{rows:?}"))
        }
        ObjectKind::Partials | ObjectKind::View => {
            Ok(format!("{:?}", read_cells(&objects, &stored.object, None, true).await?))
        }
        ObjectKind::Series => Ok(format!("{:?}", read_series(&objects, &stored.object).await?)),
    }
}

async fn objects_of(dir: &Path) -> Vec<Stored> {
    let copy = scratch();
    copy_dir(dir, copy.path());
    let catalog = Catalog::open(&copy.path().join("catalog.db")).await.expect("opens");
    let version = catalog.load_version().await.expect("loads");
    let files = version.partitions.iter().flat_map(|p| &p.files).chain(&version.mixed);
    let mut rows: Vec<(String, u64)> = files.map(|f| (f.object.path.clone(), f.rows)).collect();
    let quarantined = catalog.quarantine_files().await.expect("lists");
    rows.extend(quarantined.into_iter().map(|(object, rows)| (object.path, rows)));
    let objects = catalog.all_objects().await.expect("lists");
    catalog.close().await;
    let stored = |(object, kind): (ObjectRef, ObjectKind)| {
        let bytes = std::fs::read(dir.join("history").join(&object.path)).expect("readable").into();
        let rows = rows.iter().find(|(path, _)| *path == object.path).map_or(0, |(_, rows)| *rows);
        Stored { object, kind, rows, bytes }
    };
    objects.into_iter().map(stored).collect()
}

/// Damage of an object is an error that names it, or does not matter to this reader at all.
async fn check_object(stored: &Stored, truth: &str, damaged: Bytes, what: &str) {
    match read(stored, damaged).await {
        Ok(answer) => assert!(answer == truth, "{}: {what}: answered from damage", stored.object.path),
        Err(Error::Corrupt { what: named, reason }) => {
            assert_eq!(named, stored.object.path, "{what}: {reason}");
        }
        Err(other) => panic!("{}: {what}: {other}", stored.object.path),
    }
}

#[tokio::test]
async fn nothing_is_answered_from_a_damaged_object() {
    let data = Data::make().await;
    let all = objects_of(data.path()).await;
    let kinds =
        [ObjectKind::Readings, ObjectKind::Quarantine, ObjectKind::Partials, ObjectKind::View, ObjectKind::Series];
    for kind in kinds {
        assert!(all.iter().any(|stored| stored.kind == kind), "no {kind:?}");
    }
    assert!(all.iter().any(|stored| stored.object.block_sums.len() > 1), "no object of several blocks");
    let mut random = fastrand::Rng::with_seed(3);
    let each = flips(2_000) / all.len() + 1;
    for stored in &all {
        let truth = read(stored, stored.bytes.clone()).await.expect("whole");
        for _ in 0..each {
            let (mut bytes, bit) = (stored.bytes.to_vec(), random.usize(..stored.bytes.len() * 8));
            bytes[bit / 8] ^= 1 << (bit % 8);
            check_object(stored, &truth, bytes.into(), &format!("bit {bit}")).await;
        }
        for length in (0..40).map(|_| random.usize(..stored.bytes.len())).chain([0, stored.bytes.len() - 1]) {
            check_object(stored, &truth, stored.bytes.slice(..length), &format!("cut at {length}")).await;
        }
        let mut longer = stored.bytes.to_vec();
        longer.push(0);
        check_object(stored, &truth, longer.into(), "a byte more").await;
        for other in all.iter().filter(|other| other.kind == stored.kind && other.object != stored.object) {
            check_object(stored, &truth, other.bytes.clone(), &format!("it is {}", other.object.path)).await;
            for (what, bytes) in blocks(&stored.bytes, &other.bytes, 4096).into_iter().step_by(7) {
                check_object(stored, &truth, bytes.into(), &what).await;
            }
        }
    }
    // Every bit and every length of the smallest.
    let smallest = all.iter().min_by_key(|stored| stored.bytes.len()).expect("there are objects");
    let truth = read(smallest, smallest.bytes.clone()).await.expect("whole");
    for bit in 0..smallest.bytes.len() * 8 {
        let mut bytes = smallest.bytes.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        check_object(smallest, &truth, bytes.into(), &format!("bit {bit}")).await;
    }
    for length in 0..smallest.bytes.len() {
        check_object(smallest, &truth, smallest.bytes.slice(..length), &format!("cut at {length}")).await;
    }
}

/// Changes some bytes, half of them where a Parquet file says what it holds, to what decoders tend to stumble over.
fn forged(bytes: &[u8], random: &mut fastrand::Rng) -> Vec<u8> {
    let mut forged = bytes.to_vec();
    for _ in 0..random.usize(1..=6) {
        let footer = forged.len().saturating_sub(8 + 4 * usize::from(random.u8(..)));
        let at = if random.bool() { random.usize(footer..forged.len()) } else { random.usize(..forged.len()) };
        let end = (at + random.usize(1..=9)).min(forged.len());
        match random.u8(..7) {
            0 => forged[at] ^= 1 << random.u8(..8),
            1 => forged[at] = random.u8(..),
            2 => forged[at..end].fill(0xff),
            3 => forged[at..end].fill(0),
            4 => forged[at] = forged[at].wrapping_add(1),
            5 => drop(forged.drain(at..end)),
            _ => {
                let some = forged[at..end].to_vec();
                forged.splice(at..at, some);
            }
        }
        if forged.is_empty() {
            forged.push(0);
        }
    }
    forged
}

/// Checksums tell of damage, not of intent: whoever can write history and catalog can make them fit.
#[tokio::test]
async fn a_forged_file_whose_checksums_fit_is_an_error_or_an_answer() {
    let data = Data::make().await;
    let all = objects_of(data.path()).await;
    let (mut random, mut refused, each) = (fastrand::Rng::with_seed(17), 0, flips(3_000) / all.len() + 1);
    for stored in &all {
        for _ in 0..each {
            let bytes = Bytes::from(forged(&stored.bytes, &mut random));
            let seed = random.get_seed();
            let objects = Objects::new(Arc::new(InMemory::new()) as Arc<dyn ObjectStore>);
            let object = objects.put(stored.kind, "x", LogPosition(1), bytes.clone()).await.expect("memory takes it");
            let forged = Stored { object, bytes: bytes.clone(), ..*stored };
            match tokio::spawn(async move { read(&forged, bytes).await }).await {
                Ok(answer) => refused += usize::from(answer.is_err()),
                Err(panic) => panic!("{}: {panic}, seed {seed}", stored.object.path),
            }
        }
    }
    assert!(refused > each * all.len() / 4, "only {refused} were noticed");
}

#[tokio::test]
async fn what_does_not_need_a_damaged_file_is_answered() {
    let data = Data::make().await;
    for stored in objects_of(data.path()).await {
        for lost in [false, true] {
            let copy = data.copy();
            let path = copy.path().join("history").join(&stored.object.path);
            match lost {
                true => std::fs::remove_file(&path).expect("removed"),
                false => flip(&path, stored.bytes.len() * 4),
            }
            let place = format!("{} (lost: {lost})", stored.object.path);
            let engine = match open_copy(copy.path()).await {
                Ok(engine) => engine,
                Err(error) => {
                    assert!(
                        stored.kind == ObjectKind::Series && error.contains(&stored.object.path),
                        "{place}: {error}"
                    );
                    continue;
                }
            };
            assert!(stored.kind != ObjectKind::Series, "{place}: started without names");
            let (mut answered, mut refused) = (0, 0);
            for (question, truth) in &data.truth {
                match ask(&engine, question).await {
                    Ok(answer) => {
                        assert_eq!(&answer, truth, "{place}: {question:?}");
                        answered += 1;
                    }
                    Err(error) => {
                        assert!(format!("{error:#}").contains(&stored.object.path), "{place}: {question:?}: {error:#}");
                        refused += 1;
                    }
                }
            }
            match stored.kind {
                ObjectKind::Partials | ObjectKind::Quarantine => assert_eq!(refused, 0, "{place}"),
                // A third of the questions is about a metric of which no stray is left in the file for all months.
                _ if place.contains("part=mixed") => assert!(answered >= 6, "{place}: {answered} answered"),
                _ => assert!(answered >= 12, "{place}: {answered} answered, {refused} refused"),
            }
            engine.abandon().await;
        }
    }
}

/// Everything that answers rest on, as the catalog tells it.
type Told = (HistoryVersion, Vec<(ObjectRef, ObjectKind)>, Vec<EpochRow>, Vec<GenerationRow>, Vec<ObjectRef>);

async fn told(catalog: &Catalog) -> Result<Told> {
    let version = catalog.load_version().await?;
    let epochs = catalog.epochs_between(LogPosition::START, version.flushed).await?;
    let (objects, generations) = (catalog.all_objects().await?, catalog.generations().await?);
    Ok((version, objects, epochs, generations, catalog.series_files().await?))
}

/// A whole catalog in one file, as a clean stop leaves it.
async fn whole_catalog(dir: &Path) -> Vec<u8> {
    let catalog = Catalog::open(&dir.join("catalog.db")).await.expect("opens");
    catalog.close().await;
    std::fs::read(dir.join("catalog.db")).expect("readable")
}

#[tokio::test]
async fn a_damaged_catalog_is_not_opened_or_says_the_same() {
    let data = Data::make().await;
    let copy = data.copy();
    let whole = whole_catalog(copy.path()).await;
    let path = copy.path().join("catalog.db");
    let catalog = Catalog::open(&path).await.expect("opens");
    let truth = told(&catalog).await.expect("reads");
    catalog.close().await;
    // An older one of the same directory: before the last flush.
    let older = {
        let engine = open_copy(copy.path()).await.expect("opens");
        engine.serving.flush().await.expect("flushes");
        engine.abandon().await;
        whole_catalog(copy.path()).await
    };
    let mut random = fastrand::Rng::with_seed(23);
    let mut damaged: Vec<(String, Vec<u8>)> = Vec::new();
    for _ in 0..flips(2_000).div_ceil(10) {
        let (mut bytes, bit) = (whole.clone(), random.usize(..whole.len() * 8));
        bytes[bit / 8] ^= 1 << (bit % 8);
        damaged.push((format!("bit {bit}"), bytes));
    }
    damaged.extend(blocks(&whole, &older, 4096).into_iter().step_by(3));
    for length in (0..whole.len()).step_by(4096 * 3).chain((0..10).map(|_| random.usize(..whole.len()))) {
        damaged.push((format!("cut at {length}"), whole[..length].to_vec()));
    }
    let (mut refused, mut same) = (0, 0);
    for (what, bytes) in damaged {
        // Each in a folder of its own: a catalog that was not opened closes its files when it likes.
        let dir = scratch();
        let path = dir.path().join("catalog.db");
        // No file at all is a new directory; the log then says what is missing.
        if bytes.is_empty() {
            continue;
        }
        std::fs::write(&path, &bytes).expect("written");
        let Ok(catalog) = Catalog::open(&path).await else {
            refused += 1;
            continue;
        };
        match told(&catalog).await {
            Ok(told) => {
                assert!(told == truth, "{what}: another history is told");
                same += 1;
            }
            Err(_) => refused += 1,
        }
        catalog.close().await;
    }
    println!("catalog: {refused} refused, {same} the same (unused bytes, and tables that no answer rests on)");
    assert!(refused > same / 4, "{refused} of {} refused: the sweep did not reach history", refused + same);
}

#[tokio::test]
async fn a_damaged_log_stops_the_start_and_is_named() {
    let data = Data::make().await;
    let segments = entries(&data.path().join("log"));
    assert!(segments.len() > 2, "several segments: {segments:?}");
    let name = segments[0].file_name().expect("a name");
    for bit in [100, 64 * 8 + 3, 3000 * 8] {
        let copy = data.copy();
        flip(&copy.path().join("log").join(name), bit);
        let error = open_copy(copy.path()).await.expect_err("it is damaged");
        assert!(error.contains(name.to_str().expect("text")), "{error}");
    }
    let copy = data.copy();
    std::fs::remove_file(copy.path().join("log").join(segments[1].file_name().expect("a name"))).expect("removed");
    let error = open_copy(copy.path()).await.expect_err("a segment is missing");
    assert!(error.contains("log"), "{error}");
}

#[tokio::test]
async fn the_check_names_what_is_damaged_and_says_what_to_do() {
    let data = Data::make().await;
    let check = |dir: &Path| {
        let output = Command::new(binary()).arg("check").arg("--data-dir").arg(dir).output().expect("weir runs");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    assert_eq!(check(data.copy().path()).0, Some(0), "{}", check(data.copy().path()).1);
    let mut places: Vec<(String, usize)> = Vec::new();
    for kind in ["readings", "views", "partials", "series", "quarantine"] {
        let objects = objects_of(data.path()).await;
        let object = objects.iter().find(|o| o.kind.name() == kind).expect("one of each kind");
        places.push((format!("history/{}", object.object.path), object.bytes.len() * 4));
    }
    let segment = &entries(&data.path().join("log"))[0];
    places.push((format!("log/{}", segment.file_name().expect("a name").to_string_lossy()), 3000 * 8));
    for (place, bit) in places {
        let copy = data.copy();
        flip(&copy.path().join(&place), bit);
        let (code, told) = check(copy.path());
        let name = place.strip_prefix("history/").unwrap_or(&place);
        assert!(code == Some(1) && told.contains(name) && told.contains("advice: "), "{place}: {code:?} {told}");
    }
    // An object that is not there.
    let copy = data.copy();
    let object = &objects_of(data.path()).await[0].object;
    std::fs::remove_file(copy.path().join("history").join(&object.path)).expect("removed");
    let (code, told) = check(copy.path());
    assert!(code == Some(1) && told.contains(&object.path) && told.contains("advice: "), "{code:?} {told}");
    // A bit of a cell that SQLite has no way to find wrong.
    let copy = data.copy();
    let mut bytes = whole_catalog(copy.path()).await;
    let objects = objects_of(data.path()).await;
    let path = &objects.iter().find(|o| o.kind == ObjectKind::View).expect("a view").object.path;
    let at = bytes.windows(path.len()).position(|window| window == path.as_bytes()).expect("it is named");
    bytes[at + path.len() - 10] ^= 1;
    std::fs::write(copy.path().join("catalog.db"), &bytes).expect("written");
    let (code, told) = check(copy.path());
    assert!(code == Some(1) && told.contains("catalog.db: ") && told.contains("advice: "), "{code:?} {told}");
}
