//! Enters: a throttled client and the time. Leaves: whether its request goes on, and when to come back if not. Only
//! throttled clients are in the table; it must never grow beyond its limit.

use std::net::IpAddr;

use hashbrown::HashMap;
use parking_lot::Mutex;

/// Most throttled clients remembered; beyond it the one that was quiet longest is forgotten.
const CLIENTS_MAX: usize = 4_096;

#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    updated_ms: u64,
}

/// Token buckets of throttled clients.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    // Rarely taken: by requests of clients under a throttle decision alone.
    buckets: Mutex<HashMap<IpAddr, Bucket>>,
}

/// What a throttled request gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Throttled {
    /// It goes on, after the configured delay.
    Delay,
    /// 429; worth another try after this many seconds.
    Refuse {
        /// For `Retry-After`.
        retry_after_s: u64,
    },
}

impl Throttle {
    /// Takes a token of a bucket that holds one second's worth, at least one, and fills at `rate_rps`.
    pub(super) fn take(&self, client: IpAddr, rate_rps: f64, now_ms: u64) -> Throttled {
        let burst = rate_rps.max(1.0);
        let mut buckets = self.buckets.lock();
        if buckets.len() >= CLIENTS_MAX && !buckets.contains_key(&client) {
            let quietest = buckets.iter().min_by_key(|(_, bucket)| bucket.updated_ms).map(|(client, _)| *client);
            quietest.and_then(|client| buckets.remove(&client));
        }
        let bucket = buckets.entry(client).or_insert(Bucket { tokens: burst, updated_ms: now_ms });
        let elapsed_s = now_ms.saturating_sub(bucket.updated_ms) as f64 / 1_000.0;
        bucket.tokens = (bucket.tokens + elapsed_s * rate_rps).min(burst);
        bucket.updated_ms = now_ms;
        if bucket.tokens >= 1.0 {
            bucket.tokens -= 1.0;
            return Throttled::Delay;
        }
        let wait_s = if rate_rps > 0.0 { ((1.0 - bucket.tokens) / rate_rps).ceil() } else { 3_600.0 };
        Throttled::Refuse { retry_after_s: wait_s.clamp(1.0, 3_600.0) as u64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_keeps_its_rate_and_no_more() {
        let throttle = Throttle::default();
        let client = "203.0.113.9".parse().unwrap();
        let refused = Throttled::Refuse { retry_after_s: 1 };
        assert_eq!([0, 0, 0].map(|at| throttle.take(client, 2.0, at)), [Throttled::Delay, Throttled::Delay, refused]);
        assert_eq!(throttle.take(client, 2.0, 500), Throttled::Delay);
        assert_eq!(throttle.take(client, 2.0, 600), refused);
        let passed = (0..100).filter(|i| throttle.take(client, 2.0, 1_000 + i * 100) == Throttled::Delay).count();
        assert!((19..=22).contains(&passed), "{passed}");
    }

    #[test]
    fn slow_rates_say_how_long_to_wait() {
        let throttle = Throttle::default();
        let client = "2001:db8::9".parse().unwrap();
        assert_eq!(throttle.take(client, 0.1, 0), Throttled::Delay);
        assert_eq!(throttle.take(client, 0.1, 0), Throttled::Refuse { retry_after_s: 10 });
        assert_eq!(throttle.take(client, 0.0, 0), Throttled::Refuse { retry_after_s: 3_600 });
    }

    #[test]
    fn the_table_forgets_the_quietest() {
        let throttle = Throttle::default();
        for i in 0..CLIENTS_MAX as u32 + 10 {
            throttle.take(IpAddr::from(std::net::Ipv4Addr::from(i)), 1.0, u64::from(i));
        }
        let buckets = throttle.buckets.lock();
        assert_eq!(buckets.len(), CLIENTS_MAX);
        assert!(!buckets.contains_key(&IpAddr::from([0, 0, 0, 0])));
    }
}
