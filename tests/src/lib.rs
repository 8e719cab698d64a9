//! What the tests of the whole share: a clock that stands still, gaps that can be armed, an oracle that simply counts,
//! a driver that leads the real engine through random lives, faults of stores and catalogs, an S3 server and a bad road
//! to it.

pub mod blocks;
pub mod calls;
pub mod damage;
pub mod disks;
pub mod faults;
pub mod law;
pub mod life;
pub mod load;
pub mod oracle;
pub mod parts;
pub mod proxy;
pub mod s3;
pub mod server;
mod skip;

pub use skip::skipped;
