use std::panic::{AssertUnwindSafe, catch_unwind};

use prometheus_client::registry::Registry as Metered;

use super::*;

#[test]
fn nothing_is_answered_from_a_state_that_a_panic_left_half_changed() {
    let settings = state_settings(&Settings::default());
    let shared = Shared {
        state: RwLock::new(SpeedState::new(settings, Arc::default(), &[], Vec::new())),
        registry: Registry::new(10, 10),
        spellings: Spellings::default(),
        metrics: Metrics::new(&mut Metered::default()),
    };
    assert_eq!(shared.folded().position(), LogPosition::START);
    // The log hands frames over in order; that it does not is a bug.
    let out_of_order = catch_unwind(AssertUnwindSafe(|| shared.take(LogPosition(7), Vec::new())));
    assert!(out_of_order.is_err(), "it was taken");
    for answer in [
        catch_unwind(AssertUnwindSafe(|| drop(shared.folded()))),
        catch_unwind(AssertUnwindSafe(|| drop(shared.read()))),
    ] {
        let panic = answer.expect_err("it was answered from");
        assert!(panic.downcast_ref::<String>().is_some_and(|text| text.contains("half changed")));
    }
}
