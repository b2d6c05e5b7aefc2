//! Enters: a cable. Leaves: how fast one TCP connection over it is. It must never send faster than its line.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread::{self, JoinHandle, sleep},
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow, ensure};
use qantra_tests::receiver::pin;

use crate::{Cable, RECEIVING_CPU, SENDING_CPU};

/// Makes the client's line a gigabit wide, with frames of the size that lines carry. (Larger ones a veth would hand over past
/// the queue that the flood fills, unless there is an XDP program.) The flood does not go through the queue it shapes.
pub(crate) fn shape(cable: &Cable) -> Result<()> {
    let output = cable.outside.run("ethtool", &["--offload", &cable.from, "tso", "off"])?;
    ensure!(output.status.success(), "ethtool: {}", String::from_utf8_lossy(&output.stderr).trim());
    let shaper = ["qdisc", "replace", "dev", &cable.from, "root", "tbf", "rate", "1gbit", "burst", "128kb"];
    let output = cable.outside.run("tc", &[&shaper[..], &["latency", "20ms"]].concat())?;
    ensure!(output.status.success(), "tc: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

/// A connection from the outside into the box, with data without end.
pub(crate) struct Transfer {
    received: Arc<AtomicU64>,
    connection: TcpStream,
    threads: Vec<JoinHandle<()>>,
}

impl Transfer {
    pub(crate) fn begin(cable: &Cable) -> Result<Self> {
        let listener = {
            let _inside = cable.gateway.enter()?;
            TcpListener::bind("192.0.2.1:0")?
        };
        let connection = {
            let _inside = cable.outside.enter()?;
            TcpStream::connect_timeout(&listener.local_addr()?, Duration::from_secs(5))?
        };
        let (mut inlet, _) = listener.accept()?;
        let mut outlet = connection.try_clone()?;
        let received = Arc::<AtomicU64>::default();
        let counted = Arc::clone(&received);
        let threads = vec![
            thread::spawn(move || {
                let _placed = pin(None, SENDING_CPU);
                while outlet.write_all(&[7; 65_536]).is_ok() {}
            }),
            thread::spawn(move || {
                let _placed = pin(None, RECEIVING_CPU);
                let mut buffer = vec![0; 65_536];
                while let Ok(bytes @ 1..) = inlet.read(&mut buffer) {
                    counted.fetch_add(bytes as u64, Relaxed);
                }
            }),
        ];
        Ok(Self { received, connection, threads })
    }

    /// Bits a second within some time.
    pub(crate) fn during(&self, time: Duration) -> f64 {
        let (before, begun) = (self.received.load(Relaxed), Instant::now());
        sleep(time);
        (self.received.load(Relaxed) - before) as f64 * 8.0 / begun.elapsed().as_secs_f64()
    }

    pub(crate) fn end(mut self) -> Result<()> {
        self.connection.shutdown(Shutdown::Both)?;
        self.threads
            .drain(..)
            .try_for_each(|thread| thread.join().map_err(|_| anyhow!("a thread of the client failed")))
    }
}
