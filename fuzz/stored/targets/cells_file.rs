//! A file of a view or of partials that was changed, with checksums that fit: an error or cells.
#![no_main]

use std::sync::LazyLock;

use batch_layer::history::read::read_groups;
use batch_layer::history::{encode_cells, read_cells};
use bytes::Bytes;
use fuzz_stored::{changed, let_guards_catch, runtime, stored};
use libfuzzer_sys::fuzz_target;
use schemas::cells::Cell;
use schemas::history::StoredCell;
use schemas::partial::Sketch;
use schemas::paths::ObjectKind;
use schemas::{Partial, SeriesId};

/// Cells of three series: with and without sketches, disordered ones, negative buckets.
static WHOLE: LazyLock<Bytes> = LazyLock::new(|| {
    let cell = |i: i64| {
        let mut partial = Partial::of_all([(i, 0.1), (i + 1, f64::from(i as i32) / 3.0)]).expect("not empty");
        partial.sketch = (i % 3 > 0).then(|| Box::new(Sketch::of([0.1, 25.3])));
        StoredCell {
            series: SeriesId((i + 20).unsigned_abs() / 15),
            cell: Cell { bucket: i * 10, partial },
            disordered: i % 7 == 0,
        }
    };
    encode_cells(&(-20..25).map(cell).collect()).expect("encodes")
});

fuzz_target!(init: let_guards_catch(), |changes: &[u8]| {
    runtime().block_on(async {
        let (objects, object) = stored(ObjectKind::View, changed(&WHOLE, changes)).await;
        if let Ok(cells) = read_cells(&objects, &object, None, true).await {
            for cell in &cells {
                let _ = cell.cell.partial.sketch.as_ref().map(|sketch| sketch.quantile(0.5));
            }
        }
        let _ = read_cells(&objects, &object, Some(&[SeriesId(1)]), false).await;
        let _ = read_groups(&objects, &object, |groups| (0..groups.len()).collect()).await;
    });
});
