//! Enters: requests on the proxy's threads. Leaves: a few of them, copied, in a bounded queue. A request that is not taken
//! costs one look at the clock and one at an atomic; it must never wait, and what finds the queue full is counted.

use std::{
    net::IpAddr,
    sync::atomic::{AtomicU64, Ordering},
};

use crossbeam_channel::{Receiver, Sender, bounded};
use prometheus::IntCounter;

use crate::{
    features::source::SourceVector,
    inspect::{RawRequest, RequestView},
};

/// Samples that wait; a request takes some KiB.
const QUEUE_MAX: usize = 64;
/// Most of a body that is copied: what inspection holds of one at most.
const BODY_BYTES_MAX: usize = 64 << 10;
/// Sources of one look that are kept.
const SOURCES_MAX: usize = 64;

/// What the watching thread sees.
#[derive(Debug)]
pub(super) enum Sample {
    Request { source: IpAddr, request: RawRequest },
    Sources(Vec<SourceVector>),
}

/// Takes at most so many requests a second, whatever comes.
#[derive(Debug)]
pub struct Sampler {
    queue: Sender<Sample>,
    next_boot_ns: AtomicU64,
    /// 0: nothing is taken.
    interval_ns: AtomicU64,
    shed: IntCounter,
}

impl Sampler {
    pub(super) fn new(shed: IntCounter) -> (Self, Receiver<Sample>) {
        let (queue, samples) = bounded(QUEUE_MAX);
        (Self { queue, next_boot_ns: AtomicU64::new(0), interval_ns: AtomicU64::new(0), shed }, samples)
    }

    /// How many requests a second; 0: none.
    pub(super) fn set_rate(&self, per_s: u32) {
        self.interval_ns.store(1_000_000_000_u64.checked_div(u64::from(per_s)).unwrap_or(0), Ordering::Relaxed);
    }

    /// Takes the request if it is time for one.
    #[inline]
    pub fn offer(&self, source: IpAddr, request: &RequestView<'_>, now_boot_ns: u64) {
        let interval_ns = self.interval_ns.load(Ordering::Relaxed);
        let next = self.next_boot_ns.load(Ordering::Relaxed);
        if interval_ns == 0 || now_boot_ns < next {
            return;
        }
        let order = Ordering::Relaxed;
        if self.next_boot_ns.compare_exchange(next, now_boot_ns + interval_ns, order, order).is_ok() {
            self.take(source, request);
        }
    }

    #[cold]
    fn take(&self, source: IpAddr, request: &RequestView<'_>) {
        if self.queue.is_full() {
            return self.shed.inc();
        }
        let body = &request.body[..request.body.len().min(BODY_BYTES_MAX)];
        let request = RawRequest {
            method: request.method.clone(),
            target: request.target.to_vec(),
            headers: request.headers.clone(),
            body: body.to_vec(),
        };
        if self.queue.try_send(Sample::Request { source, request }).is_err() {
            self.shed.inc();
        }
    }

    /// Takes some of the sources of a look.
    pub fn offer_sources(&self, vectors: &[SourceVector]) {
        let some = vectors[..vectors.len().min(SOURCES_MAX)].to_vec();
        if self.interval_ns.load(Ordering::Relaxed) > 0 && self.queue.try_send(Sample::Sources(some)).is_err() {
            self.shed.inc();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_the_rate_is_taken_and_a_full_queue_sheds() {
        let shed = IntCounter::new("shed", "shed").unwrap();
        let (sampler, samples) = Sampler::new(shed.clone());
        let request = RawRequest::parse(b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n");
        let source = IpAddr::from([192, 0, 2, 1]);
        let offer = |ms: u64| sampler.offer(source, &request.view(), ms * 1_000_000);
        (0..1_000).for_each(offer);
        assert_eq!(samples.len(), 0, "nothing is taken before a rate is set");
        sampler.set_rate(20);
        (1_000..2_000).for_each(offer);
        assert_eq!((samples.len(), shed.get()), (20, 0));
        (2_000..12_000).for_each(offer);
        assert_eq!((samples.len(), shed.get()), (QUEUE_MAX, 220 - QUEUE_MAX as u64));
        let Ok(Sample::Request { request: taken, .. }) = samples.try_recv() else { unreachable!() };
        assert_eq!(taken.target, b"/a");
    }
}
