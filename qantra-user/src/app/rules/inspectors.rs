//! Enters: large bodies with their rules. Leaves: verdicts, from threads that may take their time. Its queue is bounded:
//! what finds it full is the caller's to judge, and must never wait here.

use std::{num::NonZero, thread};

use crossbeam_channel::{Sender, TrySendError, bounded};

/// Bodies that wait; each is at most 64 KiB, with about as much again that was made of it.
const QUEUE_MAX: usize = 128;
/// More threads than this would take the processors from the proxy.
const THREADS_MAX: usize = 4;

pub(super) type Job = Box<dyn FnOnce() + Send>;

/// Threads that inspect. They end when this is dropped.
pub(super) struct Inspectors {
    jobs: Sender<Job>,
}

impl Inspectors {
    /// One thread for every two processors.
    pub(super) fn start() -> std::io::Result<Self> {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        let (jobs, queue) = bounded::<Job>(QUEUE_MAX);
        for number in 0..(cores / 2).clamp(1, THREADS_MAX) {
            let queue = queue.clone();
            let work = move || queue.iter().for_each(|job| job());
            thread::Builder::new().name(format!("rules-{number}")).spawn(work)?;
        }
        Ok(Self { jobs })
    }

    /// # Errors
    /// The queue is full; the job is dropped.
    pub(super) fn submit(&self, job: Job) -> Result<(), Full> {
        match self.jobs.try_send(job) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => Err(Full),
        }
    }
}

/// No room for another body.
#[derive(Debug)]
pub(super) struct Full;
