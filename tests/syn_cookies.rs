//! SYN cookies: what the programs make of single connection requests, by `BPF_PROG_TEST_RUN`, and what a flood with spoofed
//! sources does to an honest client, with cookies and without.

#![expect(clippy::expect_used, reason = "tests may stop at what must not happen")]

use std::{
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    os::fd::{AsFd, OwnedFd},
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use qantra_tests::{
    cable::{BOX, BOX_V6, CLIENT, CLIENT_PORT, CLIENT_V6, Cable, verdicts},
    kernel::{Pins, interface},
    netns::NetNs,
    packet::{DESTINATION_OPTIONS, PacketBuilder, Transport::Tcp, is_checksum_right},
    program::{Kind, attach_xdp, empty},
};
use qantra_user::{
    config::{Hook, KernelConfig, LimitsConfig, Role, SynCookieMode, SynCookiesConfig},
    xdp::{Entry, Fate, Kernel},
};

const ENTRIES: [Entry; 3] = [Entry::Xdp, Entry::XdpFrags, Entry::Tc];
const LISTENING: u16 = 7_070;
/// MSS 1,460, SACK, a timestamp, NOP, window scale 9: as Linux sends them.
const OPTIONS: [u8; 20] = [2, 4, 5, 180, 4, 2, 8, 10, 0xaa, 0xbb, 0xcc, 0xdd, 0, 0, 0, 0, 1, 3, 3, 9];

fn config(pins: &Pins, mode: SynCookieMode, above_syn_pps: u32) -> KernelConfig {
    KernelConfig {
        pin_dir: pins.path().to_owned(),
        limits: LimitsConfig { syn_pps: 0, flows_pps: 0, packets_pps: 0, neighbours: 0, ..LimitsConfig::default() },
        syn_cookies: SynCookiesConfig { mode, above_syn_pps },
        ..pins.config()
    }
}

fn set(netns: &NetNs, name: &str, value: &str) -> Result<()> {
    let output = netns.run("sysctl", &["-q", "-w", &format!("{name}={value}")])?;
    ensure!(output.status.success(), "sysctl {name}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// A box of its own with a listener, whose loopback stands in for an interface to the WAN.
struct Bench {
    netns: NetNs,
    pins: Pins,
    _listeners: [TcpListener; 2],
}

impl Bench {
    fn new() -> Result<Self> {
        let netns = NetNs::new("qx-ck")?;
        netns.ip(&["addr", "add", "192.0.2.1/24", "dev", "lo"])?;
        netns.ip(&["addr", "add", "2001:db8::1/64", "dev", "lo", "nodad"])?;
        set(&netns, "net.ipv4.tcp_syncookies", "2")?;
        let _inside = netns.enter()?;
        let listeners = [TcpListener::bind(("0.0.0.0", LISTENING))?, TcpListener::bind(("2001:db8::1", LISTENING))?];
        Ok(Self { netns, pins: Pins::new(), _listeners: listeners })
    }

    fn start(&self, mode: SynCookieMode, above_syn_pps: u32) -> Result<Kernel> {
        let config = config(&self.pins, mode, above_syn_pps);
        let mut kernel = Kernel::start(&config, &[interface("lo", Role::Wan, Hook::Tcx)], false)?;
        kernel.watch_index(1, Role::Wan)?;
        Ok(kernel)
    }
}

fn syn(source: &str, destination: &str) -> PacketBuilder {
    let address = |text: &str| text.parse::<IpAddr>().expect("an address");
    PacketBuilder::new(address(source), address(destination)).transport(Tcp(40_000, LISTENING, 0x02))
}

fn number(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte))
}

/// Looks at every field of a SYN-ACK to a SYN; returns its TCP options.
fn check_answer(syn: &[u8], answer: &[u8], tags: usize) -> Vec<u8> {
    let ip = 14 + 4 * tags;
    assert_eq!((&answer[..6], &answer[6..12]), (&syn[6..12], &syn[..6]), "Ethernet's addresses are exchanged");
    assert_eq!(answer[12..ip], syn[12..ip], "tags stay");
    let is_v6 = answer[ip] >> 4 == 6;
    let (from, to, tcp) = if is_v6 { (ip + 8, ip + 24, ip + 40) } else { (ip + 12, ip + 16, ip + 20) };
    let size = to - from;
    assert_eq!(answer[from..from + size], syn[to..to + size]);
    assert_eq!(answer[to..to + size], syn[from..from + size]);
    let header = usize::from(answer[tcp + 12] >> 4) * 4;
    let end = tcp + header;
    if is_v6 {
        assert_eq!(number(&answer[ip + 4..ip + 6]) as usize, header);
        assert_eq!((answer[ip + 6], answer[ip + 7]), (6, 64));
    } else {
        assert_eq!(number(&answer[ip + 2..ip + 4]) as usize, 20 + header);
        assert_eq!((answer[ip + 6] & 0x40, answer[ip + 8], answer[ip + 9]), (0x40, 64, 6));
    }
    assert!(is_checksum_right(&answer[ip..end]), "{answer:02x?}");
    assert!(answer.len() == end || answer.len() == 60, "{} bytes", answer.len());
    assert_eq!((&answer[tcp..tcp + 2], &answer[tcp + 2..tcp + 4]), (&syn[tcp + 2..tcp + 4], &syn[tcp..tcp + 2]));
    assert_eq!(number(&answer[tcp + 8..tcp + 12]), number(&syn[tcp + 4..tcp + 8]) + 1, "it acknowledges the SYN");
    assert_eq!(answer[tcp + 13], 0x12, "SYN and ACK");
    answer[tcp + 20..end].to_vec()
}

#[test]
fn a_request_to_a_listener_is_answered_field_by_field() -> Result<()> {
    let bench = Bench::new()?;
    let _inside = bench.netns.enter()?;
    let kernel = bench.start(SynCookieMode::Always, 0)?;
    for entry in ENTRIES {
        for (source, destination) in [(CLIENT, BOX), (CLIENT_V6, BOX_V6)] {
            for tags in [vec![], vec![7], vec![7, 8]] {
                // Test runs hand TCX the frame as it is; from a driver, tags come in metadata, as the cable shows below.
                if entry == Entry::Tc && !tags.is_empty() {
                    continue;
                }
                for (options, payload) in [(&[][..], &[][..]), (&OPTIONS, &[]), (&OPTIONS, &[7; 1_300]), (&[], &[0; 6])]
                {
                    let bare = syn(source, destination).tcp_options(options).payload(payload);
                    let frame = tags.iter().fold(bare, |frame, tag| frame.vlan(0x8100, *tag)).build();
                    let Fate::Answered(answer) = kernel.try_frame(entry, &frame)? else {
                        panic!("{entry:?} {source} {tags:?}: no answer");
                    };
                    let answered = check_answer(&frame, &answer, tags.len());
                    assert_eq!(answered[..2], [2, 4], "a segment size alone");
                    let mss = number(&answered[2..4]);
                    assert!(answered.len() == 4 && (536..=1_460).contains(&mss), "{answered:?}");
                    // Without an option a segment has 536 bytes; the table of the kernel's cookies has 1,460 and 1,440.
                    let expected = match (options.is_empty(), destination == BOX) {
                        (true, true) => 536,
                        (true, false) => 1_220,
                        (false, true) => 1_460,
                        (false, false) => 1_440,
                    };
                    assert_eq!(mss, expected);
                }
            }
        }
    }
    let counts = verdicts(&kernel)?;
    assert_eq!(counts.into_keys().collect::<Vec<_>>(), ["syn_cookie"]);
    Ok(())
}

#[test]
fn options_go_into_the_timestamp_where_the_stack_looks_for_them() -> Result<()> {
    let bench = Bench::new()?;
    set(&bench.netns, "net.ipv4.tcp_timestamps", "2")?;
    let _inside = bench.netns.enter()?;
    let kernel = bench.start(SynCookieMode::Always, 0)?;
    for entry in ENTRIES {
        let frame = syn(CLIENT, BOX).tcp_options(&OPTIONS).build();
        let Fate::Answered(answer) = kernel.try_frame(entry, &frame)? else { panic!("{entry:?}: no answer") };
        let options = check_answer(&frame, &answer, 0);
        assert_eq!(options.len(), 20, "{options:?}");
        assert_eq!(
            (&options[4..8], &options[12..16]),
            (&[4, 2, 8, 10][..], &OPTIONS[8..12]),
            "SACK, and its timestamp"
        );
        assert_eq!(options[11] & 63, 16 | 9, "SACK and the client's window scale, in ours");
        assert_eq!(options[16..19], [1, 3, 3]);
        let bare = syn(CLIENT, BOX).tcp_options(&OPTIONS[..4]).build();
        let Fate::Answered(answer) = kernel.try_frame(entry, &bare)? else { panic!("{entry:?}: no answer") };
        assert_eq!(check_answer(&bare, &answer, 0).len(), 4, "no timestamp, no place for options");
    }
    Ok(())
}

#[test]
fn what_is_not_certain_is_left_to_the_stack() -> Result<()> {
    let bench = Bench::new()?;
    let _inside = bench.netns.enter()?;
    let kernel = bench.start(SynCookieMode::Always, 0)?;
    let signed = [&[19, 18][..], &[7; 16], &[1, 1]].concat();
    let mut broadcast = syn(CLIENT, BOX).build();
    broadcast[..6].copy_from_slice(&[0xff; 6]);
    let left = [
        ("no listener at the port", syn(CLIENT, BOX).transport(Tcp(40_000, 7_071, 2)).build()),
        ("a host behind the box, though a listener has no address", syn(CLIENT, "198.51.100.9").build()),
        ("no listener of this family", syn(CLIENT_V6, "2001:db8::9").build()),
        ("not a SYN", syn(CLIENT, BOX).transport(Tcp(40_000, LISTENING, 0x10)).build()),
        ("a SYN-ACK", syn(CLIENT, BOX).transport(Tcp(40_000, LISTENING, 0x12)).build()),
        ("signed segments", syn(CLIENT, BOX).tcp_options(&signed).build()),
        ("options that run past their header", syn(CLIENT, BOX).tcp_options(&[2, 9, 1, 1]).build()),
        ("IPv4 options", syn(CLIENT, BOX).ipv4_options(&[1; 4]).build()),
        ("an extension header", syn(CLIENT_V6, BOX_V6).extension(DESTINATION_OPTIONS, &[1, 4, 0, 0, 0, 0]).build()),
        ("a first fragment", syn(CLIENT, BOX).fragment(0, true).payload(&[0; 24]).build()),
        ("to everybody", broadcast),
    ];
    for entry in ENTRIES {
        for (what, frame) in &left {
            assert_eq!(kernel.try_frame(entry, frame)?, Fate::Passed, "{entry:?}: {what}");
        }
    }
    assert_eq!(kernel.syn_cookies()?.failed, 0);
    Ok(())
}

#[test]
fn below_the_rate_and_where_the_stack_wants_none_nothing_is_answered() -> Result<()> {
    let bench = Bench::new()?;
    let _inside = bench.netns.enter()?;
    let frame = syn(CLIENT, BOX).build();
    let fates = |kernel: &Kernel, count: u32| -> Result<usize> {
        let fates = (0..count).map(|_| kernel.try_frame(Entry::Tc, &frame)).collect::<Result<Vec<_>, _>>()?;
        Ok(fates.iter().filter(|fate| matches!(fate, Fate::Answered(_))).count())
    };
    // 14,902 a second are 2,000 in one window of 134 ms; test runs are slower than that by far.
    let kernel = bench.start(SynCookieMode::Auto, 14_902)?;
    assert_eq!(fates(&kernel, 100)?, 0, "below the rate");
    drop(kernel);
    let kernel = bench.start(SynCookieMode::Auto, 150)?;
    let answered = fates(&kernel, 300)?;
    // At most 20 a window pass.
    assert!((200..300).contains(&answered), "{answered} of 300 answered");
    drop(kernel);
    set(&bench.netns, "net.ipv4.tcp_syncookies", "1")?;
    let kernel = bench.start(SynCookieMode::Always, 0)?;
    assert_eq!(fates(&kernel, 100)?, 0, "the listener's queue has room");
    assert_eq!(kernel.syn_cookies()?.not_needed, 100);
    drop(kernel);
    set(&bench.netns, "net.ipv4.tcp_syncookies", "0")?;
    let mut kernel = bench.start(SynCookieMode::Always, 0)?;
    assert_eq!(fates(&kernel, 100)?, 0, "the stack takes no cookies");
    let status = kernel.syn_cookies()?;
    assert!(
        !status.is_on && status.problem.as_ref().is_some_and(|text| text.contains("tcp_syncookies is 0")),
        "{status:?}"
    );
    set(&bench.netns, "net.ipv4.tcp_syncookies", "2")?;
    kernel.refresh_syn_cookies()?;
    assert_eq!((fates(&kernel, 100)?, kernel.syn_cookies()?.problem), (100, None), "it does again");
    // An address that went is no longer answered for.
    bench.netns.ip(&["addr", "del", "192.0.2.1/24", "dev", "lo"])?;
    kernel.refresh_syn_cookies()?;
    assert_eq!(fates(&kernel, 10)?, 0);
    Ok(())
}

const BYTES: usize = 40_000;

/// Answers each connection with what it sends, until the test ends.
fn echo(cable: &Cable) -> Result<()> {
    let _inside = cable.gateway.enter()?;
    // A short queue: a real flood fills any.
    set(&cable.gateway, "net.core.somaxconn", "64")?;
    let listener = TcpListener::bind(("::", LISTENING))?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let _done = stream.set_read_timeout(Some(Duration::from_secs(5)));
                let _echoed = std::io::copy(&mut &stream, &mut &stream);
            });
        }
    });
    Ok(())
}

/// One connection: connects, sends, and reads the same back.
fn visit(address: SocketAddr) -> Result<()> {
    let patience = Duration::from_millis(400);
    let mut stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_read_timeout(Some(patience))?;
    let sent: Vec<u8> = (0..BYTES).map(|at| (at % 251) as u8).collect();
    stream.write_all(&sent)?;
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut back = Vec::new();
    stream.read_to_end(&mut back)?;
    ensure!(back == sent, "{} of {BYTES} bytes came back", back.len());
    Ok(())
}

/// Visits one after the other for some time: how many went well, of how many.
fn visits(cable: &Cable, address: &str, time: Duration) -> Result<(u32, u32)> {
    let _inside = cable.client.enter()?;
    let address = SocketAddr::new(address.parse()?, LISTENING);
    let (end, mut done, mut all) = (Instant::now() + time, 0, 0);
    while Instant::now() < end {
        all += 1;
        done += u32::from(visit(address).is_ok());
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok((done, all))
}

/// A flood that ends with the test, and by itself after so many packets.
struct Flood(Child);

impl Flood {
    /// SYNs of sources that differ each time, by hping3: about 10,000 a second.
    fn v4(cable: &Cable) -> Result<Self> {
        let mut command = cable.client.command("hping3");
        let port = LISTENING.to_string();
        command.args(["--quiet", "--count", "100000", "--interval", "u50", "--rand-source", "--syn"]);
        command.args(["--destport", &port, BOX]).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().map(Self).context("starting hping3")
    }

    /// The same by IPv6, which hping3 does not speak.
    fn v6(cable: &Cable, file: &std::path::Path) -> Result<Self> {
        let frames: Vec<Vec<u8>> = (0..20_000_u32)
            .map(|number| {
                let source = format!("2001:db8:{:x}:{:x}::7", 0x100 + number / 0x1000, number % 0x1000);
                syn(&source, BOX_V6).build()
            })
            .collect();
        qantra_tests::pcap::write(file, &frames)?;
        let mut command = cable.client.command("tcpreplay");
        command.args(["--intf1", CLIENT_PORT, "--pps=10000", "--loop=5", "--preload-pcap"]).arg(file);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().map(Self).context("starting tcpreplay")
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// A cable whose box would send its answers to strangers out of the same interface, as to the Internet.
fn towards_the_internet(syncookies: &str) -> Result<(Cable, OwnedFd)> {
    let cable = Cable::new("qx-sf")?;
    set(&cable.gateway, "net.ipv4.tcp_syncookies", syncookies)?;
    cable.gateway.ip(&["route", "add", "default", "via", CLIENT])?;
    cable.gateway.ip(&["-6", "route", "add", "default", "via", CLIENT_V6])?;
    // A veth takes what the other end's XDP sends back only while it has a program of its own.
    let link = {
        let _inside = cable.client.enter()?;
        attach_xdp(empty(Kind::Xdp)?.as_fd(), nix::net::if_::if_nametoindex(CLIENT_PORT)?)?
    };
    Ok((cable, link))
}

/// A counter of the box's network stack.
fn stack_counter(cable: &Cable, name: &str) -> Result<u64> {
    let output = cable.gateway.run("nstat", &["-asz", name])?;
    let text = String::from_utf8(output.stdout)?;
    let line = text.lines().find(|line| line.starts_with(name)).with_context(|| format!("no {name} in {text}"))?;
    line.split_whitespace().nth(1).and_then(|count| count.parse().ok()).context("a number")
}

#[test]
fn an_honest_client_goes_on_in_a_flood_of_spoofed_requests() -> Result<()> {
    let time = Duration::from_secs(3);
    for hook in [Hook::Native, Hook::Tcx] {
        for address in [BOX, BOX_V6] {
            // The same flood with nobody who makes cookies, and with the kernel half's alone: the stack's own would help as
            // well, so that what it was spared is looked at.
            for (mode, syncookies) in [(SynCookieMode::Off, "0"), (SynCookieMode::Auto, "1")] {
                let (cable, _link) = towards_the_internet(syncookies)?;
                let (pins, file) = (Pins::new(), tempfile::NamedTempFile::new()?);
                echo(&cable)?;
                let kernel = cable.start(&pins, &config(&pins, mode, 500), Role::Wan, hook)?;
                let (done, all) = visits(&cable, address, time / 3)?;
                assert_eq!(done, all, "{hook:?} {address} {mode:?}: before the flood");
                let _flood = if address == BOX { Flood::v4(&cable)? } else { Flood::v6(&cable, file.path())? };
                std::thread::sleep(Duration::from_millis(700));
                let (done, all) = visits(&cable, address, time)?;
                let answered = verdicts(&kernel)?.get("syn_cookie").copied().unwrap_or(0);
                let by_stack = stack_counter(&cable, "TcpExtSyncookiesSent")?;
                let known_again = stack_counter(&cable, "TcpExtSyncookiesRecv")?;
                let what = format!(
                    "{hook:?} {address} {mode:?}: {done} of {all} visits, {answered} SYNs answered, {by_stack} by the stack, {known_again} known again"
                );
                println!("{what}");
                if mode == SynCookieMode::Off {
                    assert!(done * 2 < all && answered == 0, "{what}");
                } else {
                    assert!(done * 20 >= all * 19 && all > 20, "{what}");
                    assert!(
                        answered > 5_000 && by_stack < answered / 20 && known_again >= u64::from(done) / 2,
                        "{what}"
                    );
                }
            }
        }
    }
    Ok(())
}

#[test]
fn a_connection_by_cookie_keeps_its_options_where_the_stack_can_read_them() -> Result<()> {
    for hook in [Hook::Native, Hook::Tcx] {
        for (timestamps, has_options) in [("2", true), ("1", false)] {
            for address in [BOX, BOX_V6] {
                let ((cable, _link), pins) = (towards_the_internet("2")?, Pins::new());
                set(&cable.gateway, "net.ipv4.tcp_timestamps", timestamps)?;
                // Two ends that scale alike could be taken for each other.
                set(&cable.client, "net.ipv4.tcp_rmem", "4096 131072 1048576")?;
                echo(&cable)?;
                let kernel = cable.start(&pins, &config(&pins, SynCookieMode::Always, 0), Role::Wan, hook)?;
                let stream = {
                    let _inside = cable.client.enter()?;
                    TcpStream::connect((address, LISTENING))?
                };
                let mut byte = [7];
                (&stream).write_all(&byte)?;
                (&stream).read_exact(&mut byte)?;
                let filter = format!("sport = :{LISTENING}");
                let output = cable.gateway.run("ss", &["-teinH", "state", "established", &filter])?;
                let text = String::from_utf8(output.stdout)?;
                let what = format!("{hook:?} {address} tcp_timestamps={timestamps}: {text}");
                for option in [" ts ", " sack ", "wscale:"] {
                    assert_eq!(text.contains(option), has_options, "{what}");
                }
                let client = cable.client.run("ss", &["-teinH", "state", "established"])?;
                let client = String::from_utf8(client.stdout)?;
                // What one end calls its own scale, the other has to call the other's.
                let scales = |text: &str| {
                    let scale = text.split("wscale:").nth(1).and_then(|rest| rest.split(' ').next());
                    scale.and_then(|pair| pair.split_once(',')).map(|(a, b)| (a.to_owned(), b.to_owned()))
                };
                assert_eq!(scales(&text), scales(&client).map(|(a, b)| (b, a)), "{what}{client}");
                assert_eq!(verdicts(&kernel)?.get("syn_cookie"), Some(&1), "{what}");
            }
        }
    }
    Ok(())
}
