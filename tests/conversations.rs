//! Whom devices of the LAN talk to, as the daemon hears it from the kernel's connection tracking: real connections through a
//! box that translates addresses.

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    thread::{self, JoinHandle, sleep},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use netlink_packet_core::NetlinkBuffer;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};
use qantra_tests::{
    edge::{CLIENT, Edge},
    netns::{NetNs, join},
};
use serde_json::Value;

const DEVICE: &str = "10.77.0.7";
const PORT: u16 = 9_999;
/// More than ten times `mib_per_10min`, since nothing is known of the device.
const UPLOAD_BYTES: usize = 12 << 20;
const LIMIT: Duration = Duration::from_secs(20);

/// A box with a LAN, behind which everybody has the box's address; the upload line is low.
fn lan(edge: &Edge) -> Result<NetNs> {
    let device = NetNs::new("qs-device")?;
    join((&device, "eth0", &["10.77.0.7/24"]), (&edge.gateway, "lan0", &["10.77.0.1/24"]))?;
    device.ip(&["route", "add", "default", "via", "10.77.0.1"])?;
    let sysctl = |setting: &str| edge.gateway.run("sysctl", &["-q", "-w", setting]);
    for setting in ["net.ipv4.ip_forward=1", "net.netfilter.nf_conntrack_acct=1"] {
        ensure!(sysctl(setting)?.status.success(), "{setting}");
    }
    let rules = "add table ip nat; add chain ip nat post { type nat hook postrouting priority 100; }; \
                 add rule ip nat post oifname wan0 masquerade";
    ensure!(edge.gateway.run("nft", &[rules])?.status.success());
    let mut config = fs::read_to_string(edge.config())?;
    config += "[[interface]]\nname = \"lan0\"\nrole = \"lan\"\n[detect.exfiltration]\nmib_per_10min = 1\n";
    fs::write(edge.config(), config)?;
    Ok(device)
}

/// Takes what comes on the Internet's side, and says who it thinks it is from.
fn sink(edge: &Edge) -> Result<JoinHandle<Result<String>>> {
    let _inside = edge.client.enter()?;
    let listener = TcpListener::bind((CLIENT, PORT))?;
    Ok(thread::spawn(move || {
        let (mut stream, peer) = listener.accept()?;
        let (mut total, mut buffer) = (0, vec![0; 1 << 16]);
        loop {
            match stream.read(&mut buffer)? {
                0 => break,
                read => total += read,
            }
        }
        ensure!(total == UPLOAD_BYTES, "{total} bytes came");
        Ok(peer.ip().to_string())
    }))
}

/// Lets connection tracking forget all, as it would after its timeouts.
fn forget(edge: &Edge) -> Result<()> {
    const DELETE: u16 = 1 << 8 | 2;
    let _inside = edge.gateway.enter()?;
    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    let _address = socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let mut bytes = [0; 20];
    let mut message = NetlinkBuffer::new(&mut bytes[..]);
    message.set_length(20);
    message.set_message_type(DELETE);
    message.set_flags(1);
    socket.send(&bytes, 0)?;
    Ok(())
}

#[test]
fn an_upload_of_a_device_is_told_with_its_destination_and_not_acted_on() -> Result<()> {
    let edge = Edge::new()?;
    let device = lan(&edge)?;
    let daemon = edge.start()?;
    let warnings = |status: &Value| status["warnings"].to_string();
    let status: Value = serde_json::from_slice(&edge.ask(&["status", "-o", "json"])?.stdout)?;
    ensure!(!warnings(&status).contains("connection tracking"), "{}", warnings(&status));
    let sink = sink(&edge)?;
    {
        let _inside = device.enter()?;
        let mut stream = TcpStream::connect((CLIENT, PORT))?;
        stream.write_all(&vec![7; UPLOAD_BYTES])?;
    }
    let peer = sink.join().map_err(|_| anyhow::anyhow!("the sink panicked"))??;
    assert_eq!(peer, "192.0.2.1", "the Internet sees the box, the box sees the device");
    forget(&edge)?;

    let begun = Instant::now();
    let decision = loop {
        let listed: Value = serde_json::from_str(&edge.decisions()?)?;
        if let Some(decision) = listed.as_array().context("a list")?.first() {
            break decision.clone();
        }
        ensure!(begun.elapsed() < LIMIT, "nothing is told:\n{}", edge.metrics()?);
        sleep(Duration::from_millis(50));
    };
    assert_eq!((&decision["class"], &decision["action"]), (&"exfiltration".into(), &"observe".into()), "{decision}");
    let id = decision["id"].as_str().context("an id")?;
    let explained = String::from_utf8(edge.ask(&["explain", id])?.stdout)?;
    for part in [DEVICE, "192.0.2.10:9999/tcp", "sent_kib_per_10min"] {
        assert!(explained.contains(part), "{part} is not in\n{explained}");
    }
    let metrics = edge.metrics()?;
    assert!(metrics.contains("qantra_pairs 1\n"), "{metrics}");
    assert!(metrics.contains("qantra_conversations_lost_total 0\n"), "{metrics}");
    assert!(device.pings(CLIENT)?, "nobody is cut off");
    daemon.stop()
}

#[test]
fn a_box_that_does_not_count_bytes_says_so() -> Result<()> {
    let edge = Edge::new()?;
    let _device = lan(&edge)?;
    ensure!(edge.gateway.run("sysctl", &["-q", "-w", "net.netfilter.nf_conntrack_acct=0"])?.status.success());
    let daemon = edge.start()?;
    let status = String::from_utf8(edge.ask(&["status"])?.stdout)?;
    assert!(status.contains("sysctl net.netfilter.nf_conntrack_acct=1"), "{status}");
    daemon.stop()
}
