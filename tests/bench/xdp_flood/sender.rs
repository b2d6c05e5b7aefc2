//! Enters: a cable and a pace. Leaves: frames from banned sources, sent by a process of its own until it is killed. It must
//! never outlive the measurement.

use std::{
    io::{BufRead, BufReader},
    net::{IpAddr, Ipv4Addr},
    process::{Child, Stdio},
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use qantra_tests::{
    packet::{PacketBuilder, Transport::Udp},
    program::Sender,
    random::{Random, addresses},
    receiver::pin,
};

use rustix::net::{AddressFamily, SocketType, socket};

use crate::Cable;

/// How many sources take part.
pub(crate) const SOURCES: usize = 8_192;
/// Frames in one call: some ten seconds of them.
const BURST: u32 = 100_000_000;

/// Whose packets are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sources {
    /// Listed ones.
    Banned,
    /// As many others.
    Innocent,
}

impl Sources {
    /// The same in every run and process.
    pub(crate) fn addresses(self) -> Vec<IpAddr> {
        let seed = if self == Self::Banned { 3 } else { 4 };
        addresses(SOURCES, &mut Random::new(seed), false, |_| true)
    }
}

/// A flood that runs.
pub(crate) struct Flood(Child, Instant);

impl Flood {
    /// One frame every `interval_ns`; 0: as fast as can be.
    pub(crate) fn begin(cable: &Cable, sources: Sources, cpu: usize, interval_ns: u64) -> Result<Self> {
        let program = std::env::current_exe()?;
        // Before everything but what measures it, or who else works on this machine would be measured too.
        let mut command = cable.outside.command("chrt");
        command.args(["--fifo", "1"]).arg(program).args([
            if sources == Sources::Banned { "banned" } else { "innocent" },
            &cable.from,
            &cpu.to_string(),
            &interval_ns.to_string(),
        ]);
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().context("its output")?;
        let mut flood = Self(child, Instant::now());
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        ensure!(line == "sending\n", "the sender did not start");
        flood.1 = Instant::now();
        Ok(flood)
    }

    /// Ends it, and says how many seconds it sent.
    pub(crate) fn end(mut self) -> Result<f64> {
        ensure!(self.0.try_wait()?.is_none(), "the sender ended before the measurement");
        self.0.kill()?;
        let seconds = self.1.elapsed().as_secs_f64();
        self.0.wait()?;
        Ok(seconds)
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// What the sender's process does.
#[expect(clippy::print_stdout, reason = "the other process waits for it")]
pub(crate) fn send(sources: Sources, interface: &str, cpu: usize, interval_ns: u64) -> Result<()> {
    pin(None, cpu)?;
    let gateway = Ipv4Addr::new(192, 0, 2, 1).into();
    let frame =
        |source: IpAddr| PacketBuilder::new(source, gateway).transport(Udp(5_000, 443)).payload(&[7; 18]).build();
    let frames: Vec<Vec<u8>> = sources.addresses().into_iter().map(frame).collect();
    let sender = Sender::new(frames.iter().map(Vec::as_slice), interval_ns)?;
    let ifindex =
        rustix::net::netdevice::name_to_index(socket(AddressFamily::INET, SocketType::DGRAM, None)?, interface)?;
    println!("sending");
    sender.send(frames.first().context("no frame")?, ifindex, BURST)
}
