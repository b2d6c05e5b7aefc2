//! `qantra capture --dropped`: what the kernel half drops, as a capture file, or a line each.

use std::{
    fs::File,
    io::{self, BufWriter, IsTerminal as _, Write},
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use super::{
    daemon::Daemon,
    error::CliError,
    output::{Format, Output, clean, warn},
    time,
};
use crate::{
    api::CapturedDrop,
    capture::{CaptureFormat, CaptureWriter, WrittenFrame},
    clock,
};

/// Longest line of the daemon's answer.
const LINE_BYTES_MAX: usize = 64 * 1024;
/// What the kernel half keeps of a frame.
const SNAP_BYTES: u32 = 192;

/// Capture dropped packets, with the reason and the decision behind each
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  qantra capture --dropped                                a line for each sampled drop
  qantra capture --dropped --sample 1 --seconds 10 -w out.pcap
  qantra capture --dropped -w - | tshark -r - -T fields -e ip.src -e frame.comment
  qantra capture --dropped --reason banned_source --interface eth0 --count 100 -o json

The kernel half samples one drop in `kernel.drop_sample` and keeps the first 192 bytes of its frame. --sample raises that
for as long as the capture runs; a number that is no power of two is rounded up to one. Files are pcapng, whatever
their name: each frame has a comment with the reason and the decision's id; --classic writes pcap for old programs,
without. Ctrl-C ends the capture; the file is whole at any time.")]
pub(super) struct Args {
    /// What is captured; so far the packets that the kernel half drops
    #[arg(long, required = true)]
    dropped: bool,

    /// Write a capture file; - is standard output
    #[arg(short, long, value_name = "FILE")]
    write: Option<PathBuf>,

    /// End after so many drops
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,

    /// End after so many seconds
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: Option<u64>,

    /// Only what was dropped for this reason, such as banned_source
    #[arg(long, value_name = "REASON", value_parser = word)]
    reason: Option<String>,

    /// Only what came in by this interface
    #[arg(long, value_name = "INTERFACE", value_parser = word)]
    interface: Option<String>,

    /// Sample one drop in N while the capture runs; 1: every one
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    sample: Option<u32>,

    /// Write pcap in place of pcapng
    #[arg(long, requires = "write")]
    classic: bool,
}

/// A name that can stand in a query as it is.
fn word(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '@');
    let fits = !text.is_empty() && text.len() <= 64 && text.chars().all(plain);
    if fits { Ok(text.to_owned()) } else { Err("use letters, digits, _, -, . and @".into()) }
}

pub(super) fn run(args: &Args, daemon: &Daemon, output: &Output) -> Result<(), CliError> {
    let mut sink = Sink::open(args, *output)?;
    let stopped = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stopped))?;
    }
    let end_boot_ns = args.seconds.map(|seconds| clock::boot_ns() + seconds * 1_000_000_000);
    let (mut captured, mut lost, mut failure) = (0, 0, None);
    daemon.stream_beats(&query(args), LINE_BYTES_MAX, |drop: Option<CapturedDrop>| {
        if stopped.load(Ordering::Relaxed) || end_boot_ns.is_some_and(|end| clock::boot_ns() >= end) {
            return false;
        }
        let Some(drop) = drop else { return true };
        captured += 1;
        lost = drop.lost;
        failure = sink.take(&drop).err();
        failure.is_none() && args.count.is_none_or(|count| captured < count)
    })?;
    let mut said = Vec::new();
    if lost > 0 {
        said.push(format!("{lost} sampled drops were lost: this reader was slower than they came"));
    }
    warn(&said);
    if args.write.is_some() {
        // Standard output may be the capture itself.
        let _ = writeln!(io::stderr(), "{captured} dropped packets captured");
    }
    failure.map_or(Ok(()), Err)
}

fn query(args: &Args) -> String {
    let sample = args.sample.map(|sample| ("sample", sample.to_string()));
    let reason = args.reason.clone().map(|reason| ("reason", reason));
    let interface = args.interface.clone().map(|interface| ("interface", interface));
    let pairs = [sample, reason, interface].into_iter().flatten().map(|(key, value)| format!("{key}={value}"));
    format!("/v1/capture?{}", pairs.collect::<Vec<_>>().join("&"))
}

/// Where drops go.
enum Sink {
    File(Box<CaptureWriter<Box<dyn Write>>>),
    Lines(Output),
}

impl Sink {
    fn open(args: &Args, output: Output) -> Result<Self, CliError> {
        let Some(path) = &args.write else { return Ok(Self::Lines(output)) };
        let out: Box<dyn Write> = if path == Path::new("-") {
            if io::stdout().is_terminal() {
                return Err(CliError::Usage("a capture file is not for a terminal: name a file, or pipe it on".into()));
            }
            Box::new(BufWriter::new(io::stdout()))
        } else {
            let failed = |error| anyhow::Error::from(error).context(clean(&path.display().to_string()));
            Box::new(BufWriter::new(File::create(path).map_err(failed)?))
        };
        let format = if args.classic { CaptureFormat::Pcap } else { CaptureFormat::Pcapng };
        Ok(Self::File(Box::new(CaptureWriter::new(out, format, SNAP_BYTES)?)))
    }

    fn take(&mut self, drop: &CapturedDrop) -> Result<(), CliError> {
        match self {
            Self::File(writer) => Ok(writer.frame(&WrittenFrame {
                at_unix_ns: drop.at_unix_ns,
                interface: &drop.interface,
                wire_bytes: drop.frame_bytes,
                bytes: &drop.frame(),
                comment: &comment(drop),
            })?),
            Self::Lines(output) if output.format == Format::Json => {
                let mut out = io::stdout().lock();
                serde_json::to_writer(&mut out, drop).map_err(io::Error::from)?;
                Ok(out.write_all(b"\n").and_then(|()| out.flush())?)
            }
            Self::Lines(output) => output.text(&line(drop)),
        }
    }
}

fn comment(drop: &CapturedDrop) -> String {
    match drop.decision {
        Some(id) => format!("dropped: {}; decision {id}", drop.reason),
        None => format!("dropped: {}", drop.reason),
    }
}

/// `12:00:01.000123 eth0 banned_source 203.0.113.7:4711 > 192.0.2.1:80 tcp, 60 bytes, decision …`.
fn line(drop: &CapturedDrop) -> String {
    let end = |address: Option<IpAddr>, port: u16| match (address, port) {
        (None, _) => "?".to_owned(),
        (Some(address), 0) => address.to_string(),
        (Some(address), port) => SocketAddr::new(address, port).to_string(),
    };
    let protocol = match drop.protocol {
        0 => String::new(),
        1 | 58 => " icmp".into(),
        6 => " tcp".into(),
        17 => " udp".into(),
        other => format!(" protocol {other}"),
    };
    let decision = drop.decision.map(|id| format!(", decision {id}")).unwrap_or_default();
    let vlan = if drop.vlan == 0 { String::new() } else { format!(" vlan {}", drop.vlan) };
    let moment = time::moment(drop.at_unix_ns / 1_000_000);
    let clock = moment.split(' ').nth(1).unwrap_or_default();
    clean(&format!(
        "{clock}.{:06} {} {} {} > {}{protocol}{vlan}, {} bytes{decision}",
        drop.at_unix_ns / 1_000 % 1_000_000,
        drop.interface,
        drop.reason,
        end(drop.source, drop.source_port),
        end(drop.destination, drop.destination_port),
        drop.frame_bytes,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::DecisionId;

    fn dropped() -> CapturedDrop {
        CapturedDrop {
            at_unix_ns: 1_700_000_000_000_123_456,
            interface: "eth0".into(),
            reason: "banned_source".into(),
            decision: Some(DecisionId(7)),
            source: "203.0.113.7".parse().ok(),
            destination: "192.0.2.1".parse().ok(),
            source_port: 4711,
            destination_port: 80,
            protocol: 6,
            vlan: 0,
            frame_bytes: 60,
            data: "AAEC".into(),
            lost: 0,
        }
    }

    #[test]
    fn a_drop_is_one_line() {
        let drop = dropped();
        assert_eq!(
            line(&drop),
            "22:13:20.000123 eth0 banned_source 203.0.113.7:4711 > 192.0.2.1:80 tcp, 60 bytes, decision 0000000000007"
        );
        let malformed = CapturedDrop {
            decision: None,
            source: None,
            destination: None,
            protocol: 0,
            vlan: 5,
            reason: "truncated".into(),
            ..drop
        };
        assert_eq!(line(&malformed), "22:13:20.000123 eth0 truncated ? > ? vlan 5, 60 bytes");
        assert_eq!(comment(&malformed), "dropped: truncated");
        assert_eq!(malformed.frame(), [0, 1, 2]);
    }

    #[test]
    fn names_stand_in_a_query_as_they_are() {
        for (name, fits) in [("eth0.5", true), ("banned_source", true), ("a&b", false), ("a b", false), ("", false)] {
            assert_eq!(word(name).is_ok(), fits, "{name}");
        }
    }
}
