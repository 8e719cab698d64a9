//! Slowing down those who come without a valid token again and again. A secret can't be guessed; this keeps the log
//! readable and the work small. Whoever shows a valid token is never slowed down, whatever others do from their address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

/// So many attempts are answered at once, and then one a second.
const BURST: f64 = 10.0;
const PER_SECOND: f64 = 1.0;
/// Most addresses that are remembered.
const PEERS_MAX: usize = 10_000;

/// The attempts that an address has left, and when that was so.
#[derive(Debug, Clone, Copy)]
struct Left {
    attempts: f64,
    at: Instant,
}

impl Left {
    fn now(self, now: Instant) -> f64 {
        (self.attempts + now.duration_since(self.at).as_secs_f64() * PER_SECOND).min(BURST)
    }
}

/// The failed attempts of all addresses.
#[derive(Debug, Default)]
pub(in crate::http) struct Guesses(Mutex<HashMap<IpAddr, Left>>);

impl Guesses {
    /// Counts a failed attempt; whether it is to be answered as such.
    pub(in crate::http) fn allows(&self, peer: IpAddr, now: Instant) -> bool {
        let mut peers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if peers.len() >= PEERS_MAX && !peers.contains_key(&network(peer)) {
            peers.retain(|_, left| left.now(now) < BURST);
            if peers.len() >= PEERS_MAX {
                return false;
            }
        }
        let left = peers.entry(network(peer)).or_insert(Left { attempts: BURST, at: now });
        let attempts = left.now(now);
        let allowed = attempts >= 1.0;
        *left = Left { attempts: if allowed { attempts - 1.0 } else { attempts }, at: now };
        allowed
    }
}

/// The address, or of version 6 the network that one customer has.
fn network(peer: IpAddr) -> IpAddr {
    match peer {
        IpAddr::V6(ip) if ip.to_ipv4_mapped().is_none() => {
            let mut bytes = ip.octets();
            bytes[8..].fill(0);
            IpAddr::V6(bytes.into())
        }
        ip => ip,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn attempts_run_out_per_address_and_come_back() {
        let (guesses, start) = (Guesses::default(), Instant::now());
        let peer = |text: &str| text.parse::<IpAddr>().expect(text);
        let allowed = |from: &str, at: Instant| (0..20).filter(|_| guesses.allows(peer(from), at)).count();
        assert_eq!(allowed("10.0.0.1", start), 10);
        assert_eq!(allowed("10.0.0.2", start), 10);
        assert_eq!(allowed("2001:db8::1", start), 10);
        assert_eq!(allowed("2001:db8::2", start), 0, "one customer");
        assert_eq!(allowed("10.0.0.1", start + Duration::from_secs(3)), 3);
        assert_eq!(allowed("10.0.0.1", start + Duration::from_secs(3600)), 10);
    }

    #[test]
    fn memory_is_bounded_and_forgotten_ones_make_room() {
        let (guesses, start) = (Guesses::default(), Instant::now());
        let peer = |i: u32| IpAddr::from(i.to_be_bytes());
        assert!((0..PEERS_MAX as u32).all(|i| guesses.allows(peer(i), start)));
        assert!(!guesses.allows(peer(u32::MAX), start));
        assert!(guesses.allows(peer(u32::MAX), start + Duration::from_secs(60)));
        assert_eq!(guesses.0.lock().expect("no panic").len(), 1);
    }
}
