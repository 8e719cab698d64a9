//! The system's clock, the one place where the time of day is read.

use schemas::{ArrivalTime, Clock};

/// The time of day of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one clock that reads the machine's")]
    fn now(&self) -> ArrivalTime {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        ArrivalTime(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
    }
}
