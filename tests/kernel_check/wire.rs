//! Enters: addresses. Leaves: which of them a socket at the other end of a veth pair got a datagram of. It must never
//! outlive its guard, nor speak by itself.

use std::{
    collections::HashSet,
    fs,
    net::{IpAddr, UdpSocket},
    os::fd::AsRawFd as _,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nix::sys::socket::{AddressFamily, LinkAddr, MsgFlags, SockFlag, SockType, sendto};
use qantra_tests::packet::{PacketBuilder, Transport::Udp};

use crate::cable::{Cable, FAR, PORT};

/// The box's addresses.
const BOX_V4: &str = "192.0.2.1";
const BOX_V6: &str = "2001:db8::1";
/// Nobody bans these: when they have come, what was sent before them has come or was dropped.
const LAST_V4: &str = "192.0.2.250";
const LAST_V6: &str = "2001:db8:0:f::250";
const UDP_PORT: u16 = 4_000;

/// How long to wait for the last frame, on a machine that may be emulated and busy.
const LAST_WAIT: Duration = Duration::from_secs(10);
/// And then for others that another processor may still hold.
const GRACE: Duration = Duration::from_millis(50);

/// A cable with the box's addresses on one end.
pub(crate) struct Wire {
    _cable: Cable,
    inlet: UdpSocket,
    outlet: std::os::fd::OwnedFd,
    far: LinkAddr,
    sent: u32,
}

impl Wire {
    pub(crate) fn new() -> Result<Self> {
        let mut cable = Cable::new().context("making a veth pair")?;
        // The far end is a mere cable: with IPv6 it would send frames that are counted.
        fs::write(format!("/proc/sys/net/ipv6/conf/{FAR}/disable_ipv6"), "1").context("silencing the far end")?;
        for name in [PORT, FAR] {
            cable.set_up(name).with_context(|| format!("setting {name} up"))?;
        }
        cable.add_address(BOX_V4.parse()?, 24).context(BOX_V4)?;
        cable.add_address(BOX_V6.parse()?, 48).context(BOX_V6)?;
        let inlet = UdpSocket::bind(("::", UDP_PORT)).context("binding")?;
        inlet.set_nonblocking(true)?;
        let outlet = nix::sys::socket::socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)?;
        let far = nix::ifaddrs::getifaddrs()?
            .filter(|interface| interface.interface_name == FAR)
            .find_map(|interface| interface.address?.as_link_addr().copied())
            .context("the far end has no link address")?;
        let mut wire = Self { _cable: cable, inlet, outlet, far, sent: 0 };
        // Both ends take a moment to have a carrier.
        let end = Instant::now() + LAST_WAIT;
        while wire.volley(&[], Duration::from_millis(300)).is_err() {
            ensure!(Instant::now() < end, "nothing comes over a veth pair without any program");
        }
        Ok(wire)
    }

    /// Sends a datagram of each source to the box and returns which of them came.
    pub(crate) fn passes(&mut self, sources: &[&str]) -> Result<Vec<bool>> {
        let sources = sources.iter().map(|text| text.parse()).collect::<Result<Vec<IpAddr>, _>>()?;
        self.volley(&sources, LAST_WAIT)
    }

    fn volley(&mut self, sources: &[IpAddr], wait: Duration) -> Result<Vec<bool>> {
        // What was sent by the thousand may fill the socket, and nothing more would come.
        while self.receive().is_some() {}
        let first = self.sent;
        for source in sources {
            self.send(*source)?;
        }
        let mut missing = HashSet::new();
        for last in [LAST_V4, LAST_V6] {
            missing.insert(self.sent);
            self.send(last.parse()?)?;
        }
        let (mut came, mut end) = (HashSet::new(), Instant::now() + wait);
        while Instant::now() < end {
            let Some(number) = self.receive() else {
                sleep(Duration::from_millis(1));
                continue;
            };
            came.insert(number);
            if missing.remove(&number) && missing.is_empty() {
                end = Instant::now() + GRACE;
            }
        }
        ensure!(missing.is_empty(), "an innocent datagram did not come within {wait:?}");
        Ok((first..).zip(sources).map(|(number, _)| came.contains(&number)).collect())
    }

    /// The number of the next datagram that is waiting.
    fn receive(&self) -> Option<u32> {
        let mut bytes = [0; 4];
        let length = self.inlet.recv(&mut bytes).ok()?;
        (length == bytes.len()).then(|| u32::from_be_bytes(bytes))
    }

    /// Sends one numbered datagram as if from a source.
    fn send(&mut self, source: IpAddr) -> Result<()> {
        let to = if source.is_ipv4() { BOX_V4 } else { BOX_V6 };
        let packet = PacketBuilder::new(source, to.parse()?).transport(Udp(5_000, UDP_PORT));
        let frame = packet.payload(&self.sent.to_be_bytes()).build();
        sendto(self.outlet.as_raw_fd(), &frame, &self.far, MsgFlags::empty()).context("sending a frame")?;
        self.sent += 1;
        Ok(())
    }

    /// Sends many datagrams of one source, slowly enough for any receiver.
    pub(crate) fn send_many(&mut self, source: &str, count: u32) -> Result<()> {
        let source = source.parse()?;
        for number in 0..count {
            self.send(source)?;
            if number % 50 == 0 {
                sleep(Duration::from_millis(1));
            }
        }
        Ok(())
    }
}
