//! Enters: two namespaces that are joined. Leaves: traffic between them without a pause, counted at both ends, so that a
//! single packet that slips through is seen. It must never run for more than a minute.

use std::{
    net::UdpSocket,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::{JoinHandle, sleep},
    time::{Duration, Instant},
};

use anyhow::Result;

use crate::netns::NetNs;

const PORT: u16 = 4_000;

/// Datagrams from one namespace to another without a pause, and how many came through.
#[derive(Debug)]
pub struct Flood {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    received: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Flood {
    /// About 5,000 datagrams a second, until dropped and at most for a minute.
    ///
    /// # Errors
    /// A socket cannot be made.
    pub fn start(from: &NetNs, to: &NetNs, address: &str) -> Result<Self> {
        Self::paced(from, to, address, Duration::from_micros(200))
    }

    /// As many datagrams as a socket takes, until dropped and at most for a minute.
    ///
    /// # Errors
    /// A socket cannot be made.
    pub fn at_full_speed(from: &NetNs, to: &NetNs, address: &str) -> Result<Self> {
        Self::paced(from, to, address, Duration::ZERO)
    }

    fn paced(from: &NetNs, to: &NetNs, address: &str, pause: Duration) -> Result<Self> {
        let inlet = {
            let _inside = to.enter()?;
            UdpSocket::bind((address, PORT))?
        };
        let outlet = {
            let _inside = from.enter()?;
            UdpSocket::bind((if address.contains(':') { "::" } else { "0.0.0.0" }, 0))?
        };
        outlet.connect((address, PORT))?;
        inlet.set_read_timeout(Some(Duration::from_millis(50)))?;
        let (stop, sent, received) = (Arc::default(), Arc::default(), Arc::default());
        let mut flood = Self { stop, sent, received, threads: Vec::new() };
        let (stop, sent) = (Arc::clone(&flood.stop), Arc::clone(&flood.sent));
        flood.threads.push(std::thread::spawn(move || {
            let end = Instant::now() + Duration::from_secs(60);
            while !stop.load(Relaxed) && Instant::now() < end {
                if outlet.send(&[7; 100]).is_ok() {
                    sent.fetch_add(1, Relaxed);
                }
                if !pause.is_zero() {
                    sleep(pause);
                }
            }
        }));
        let (stop, received) = (Arc::clone(&flood.stop), Arc::clone(&flood.received));
        flood.threads.push(std::thread::spawn(move || {
            let mut buffer = [0; 200];
            while !stop.load(Relaxed) {
                if inlet.recv(&mut buffer).is_ok() {
                    received.fetch_add(1, Relaxed);
                }
            }
        }));
        Ok(flood)
    }

    /// What was sent so far.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.load(Relaxed)
    }

    /// What came through so far.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received.load(Relaxed)
    }

    /// What is sent and received within some time.
    #[must_use]
    pub fn during(&self, time: Duration) -> (u64, u64) {
        let before = (self.sent.load(Relaxed), self.received.load(Relaxed));
        sleep(time);
        (self.sent.load(Relaxed) - before.0, self.received.load(Relaxed) - before.1)
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        for thread in self.threads.drain(..) {
            let _joined = thread.join();
        }
    }
}
