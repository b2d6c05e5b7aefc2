//! Enters: nothing. Leaves: ids of requests, unique for this process and unlike those of the one before.

use std::sync::atomic::{AtomicU64, Ordering};

use http::HeaderValue;

const LENGTH: usize = 24;
const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// One request's id: 11 random characters of the process, then a counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RequestId([u8; LENGTH]);

impl RequestId {
    pub(super) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    pub(super) fn header_value(&self) -> HeaderValue {
        HeaderValue::from_bytes(&self.0).unwrap_or_else(|_| HeaderValue::from_static(""))
    }
}

/// Gives out ids.
#[derive(Debug)]
pub(super) struct RequestIds {
    prefix: [u8; 11],
    next: AtomicU64,
}

impl RequestIds {
    /// `seed` is the process's random number.
    pub(super) fn new(seed: u64) -> Self {
        let mut prefix = [0; 11];
        write_base32(seed, &mut prefix);
        Self { prefix, next: AtomicU64::new(0) }
    }

    pub(super) fn next(&self) -> RequestId {
        let mut id = [0; LENGTH];
        id[..11].copy_from_slice(&self.prefix);
        write_base32(self.next.fetch_add(1, Ordering::Relaxed), &mut id[11..]);
        RequestId(id)
    }
}

fn write_base32(mut value: u64, out: &mut [u8]) {
    for place in out.iter_mut().rev() {
        *place = DIGITS[(value & 31) as usize];
        value >>= 5;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ_and_share_the_process_prefix() {
        let ids = RequestIds::new(0x1234_5678_9abc_def0);
        let (a, b) = (ids.next(), ids.next());
        assert_ne!(a, b);
        assert_eq!(a.as_str().len(), LENGTH);
        assert_eq!(a.as_str()[..11], b.as_str()[..11]);
        assert!(a.as_str().ends_with("0000000000000"));
        assert_eq!(b.header_value().to_str().unwrap(), b.as_str());
    }
}
