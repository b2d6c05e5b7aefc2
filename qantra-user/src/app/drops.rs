//! Enters: sampled drops, on the collector's thread. Leaves: a copy for each running capture. It must never wait for one:
//! what finds a queue full is lost and counted.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::{
    api::{ControlError, Tap},
    xdp::{BanPlane, DropEvent},
};

/// Drops that wait for one capture: 1.1 MB.
const QUEUE_MAX: usize = 4_096;

/// Hands sampled drops to those who capture. While nobody does, a drop costs one look at a counter.
pub(super) struct DropHub {
    plane: Option<Arc<BanPlane>>,
    /// One in how many drops the configuration samples; 0: none.
    configured: u32,
    running: AtomicUsize,
    captures: Mutex<Captures>,
}

#[derive(Default)]
struct Captures {
    next: u64,
    list: Vec<Capture>,
}

struct Capture {
    number: u64,
    /// One in how many drops it wants sampled.
    sample: Option<u32>,
    queue: mpsc::Sender<DropEvent>,
    lost: Arc<AtomicU64>,
}

impl DropHub {
    pub(super) fn new(plane: Option<Arc<BanPlane>>, configured: u32) -> Self {
        Self { plane, configured, running: AtomicUsize::new(0), captures: Mutex::default() }
    }

    /// Takes a sampled drop.
    pub(super) fn offer(&self, drop: &DropEvent) {
        if self.running.load(Ordering::Relaxed) == 0 {
            return;
        }
        for capture in &self.captures.lock().list {
            if capture.queue.try_send(*drop).is_err() {
                capture.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Begins a capture, which may raise the sampling for as long as it runs.
    pub(super) fn tap(self: &Arc<Self>, sample: Option<u32>) -> Result<Tap, ControlError> {
        if self.plane.is_none() {
            let what = "there is no kernel half, so nothing is dropped by it".to_owned();
            return Err(ControlError::BadRequest { what, hint: "configure an [[interface]]" });
        }
        let (queue, drops) = mpsc::channel(QUEUE_MAX);
        let lost = Arc::new(AtomicU64::new(0));
        let mut captures = self.captures.lock();
        captures.next += 1;
        let number = captures.next;
        captures.list.push(Capture { number, sample, queue, lost: Arc::clone(&lost) });
        self.running.store(captures.list.len(), Ordering::Relaxed);
        let guard = Guard { hub: Arc::clone(self), number };
        let wanted = self.sampling(&captures);
        if wanted == 0 {
            drop(captures);
            let what = "`kernel.drop_sample` is 0: no drop is sampled".to_owned();
            return Err(ControlError::BadRequest { what, hint: "add --sample 1 to sample while this capture runs" });
        }
        self.set_sampling(wanted);
        Ok(Tap { drops, lost, guard: Box::new(guard) })
    }

    /// The densest sampling that the configuration or a running capture wants.
    fn sampling(&self, captures: &Captures) -> u32 {
        let wanted = captures.list.iter().filter_map(|capture| capture.sample).chain([self.configured]);
        wanted.filter(|one_in| *one_in > 0).min().unwrap_or(0)
    }

    fn set_sampling(&self, one_in: u32) {
        let Some(plane) = &self.plane else { return };
        if let Err(error) = plane.set_drop_sample(one_in) {
            tracing::warn!(%error, one_in, "the sampling of drops could not be changed");
        }
    }
}

/// Ends a capture when it goes, whoever lets it go: a client that vanished too.
struct Guard {
    hub: Arc<DropHub>,
    number: u64,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut captures = self.hub.captures.lock();
        captures.list.retain(|capture| capture.number != self.number);
        self.hub.running.store(captures.list.len(), Ordering::Relaxed);
        self.hub.set_sampling(self.hub.sampling(&captures));
    }
}
