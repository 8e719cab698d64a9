//! What the tests of the whole share: a clock that stands still, gaps that can be armed, an oracle that simply counts,
//! and a driver that leads the real engine through random lives.

pub mod damage;
pub mod law;
pub mod load;
pub mod oracle;
pub mod parts;
pub mod server;
