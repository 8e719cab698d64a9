use schemas::cells::Cell;
use schemas::partial::Sketch;

use super::*;

fn cell(series: u64, bucket: i64, values: &[f64]) -> StoredCell {
    let partial = Partial::of_all(values.iter().map(|v| (bucket, *v))).expect("not empty");
    StoredCell { series: SeriesId(series), cell: Cell { bucket, partial }, disordered: false }
}

#[test]
fn folding_merges_what_is_in_both_and_keeps_the_order() {
    let view = vec![cell(1, 0, &[1.0]), cell(1, 20, &[2.0]), cell(3, 0, &[3.0])];
    let epochs =
        [vec![cell(1, 0, &[10.0]), cell(2, 0, &[20.0])], vec![], vec![cell(1, 0, &[100.0]), cell(1, 10, &[200.0])]];
    let expected = vec![
        cell(1, 0, &[1.0, 10.0, 100.0]),
        cell(1, 10, &[200.0]),
        cell(1, 20, &[2.0]),
        cell(2, 0, &[20.0]),
        cell(3, 0, &[3.0]),
    ];
    assert_eq!(fold(view, &epochs).expect("folds"), expected);
    assert_eq!(fold(Vec::new(), &[]).expect("folds"), []);
}

#[test]
fn a_disordered_cell_is_not_folded() {
    let disordered = StoredCell { disordered: true, ..cell(1, 0, &[1.0]) };
    assert!(matches!(fold(vec![disordered.clone()], &[]), Err(Error::Refused(_))));
    assert!(matches!(fold(Vec::new(), &[vec![cell(0, 0, &[1.0]), disordered]]), Err(Error::Refused(_))));
}

#[test]
fn comparing_names_every_difference() {
    let sketched = |mut c: StoredCell, values: &[f64]| {
        c.cell.partial.sketch = Some(Box::new(Sketch::of(values.iter().copied())));
        c
    };
    let old = [cell(1, 0, &[1.0]), cell(1, 10, &[2.0]), cell(2, 0, &[3.0]), sketched(cell(4, 0, &[4.0]), &[4.0])];
    let new = [cell(1, 0, &[1.0]), cell(1, 20, &[2.0]), cell(2, 0, &[3.5]), cell(4, 0, &[4.0])];
    let found: Vec<_> =
        compare(&old, &new).into_iter().map(|d| (d.series.0, d.bucket, d.old.is_some(), d.new.is_some())).collect();
    assert_eq!(found, [(1, 10, true, false), (1, 20, false, true), (2, 0, true, true)]);
    assert_eq!(compare(&[], &new).len(), 4);
    assert_eq!(compare(&old, &[]).len(), 4);
    assert!(compare(&old, &old).is_empty());
    let other = [sketched(cell(4, 0, &[4.0]), &[5.0])];
    assert_eq!(compare(&old[3..], &other).len(), 1, "two sketches are compared");
}
