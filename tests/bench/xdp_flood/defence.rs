//! Enters: what shall drop the flood. Leaves: it, at work on the box's end of the cable, and its own count of what it
//! dropped. It must never leave anything behind.

use std::{io::Write, net::IpAddr, os::fd::BorrowedFd, process::Stdio};

use anyhow::{Context, Result, ensure};
use ipnet::IpNet;
use qantra_tests::{
    kernel::{Pins, ban, interface},
    netns::NetNs,
};
use qantra_user::{
    config::{Hook, KernelConfig, Role},
    decide::Direction,
    enforce::{AddressRanges, FeedPlane, KernelPlane},
    nft::NftPlane,
    xdp::{Entry, Kernel, Verdict},
};

use crate::sender::{SOURCES, Sources};

/// What drops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Defence {
    /// Nothing: packets go up the stack.
    None,
    /// Qantra's rungs, with the sources as a list: what an nftables set is.
    Native,
    Tcx,
    Clsact,
    Generic,
    /// Qantra's highest rung, with the sources as decisions: each with an end and counts of its own.
    NativeBans,
    /// Qantra's last rung, nftables sets, with the sources as decisions.
    NftablesBans,
    /// An nftables set in the raw table's place, before connection tracking.
    NftRaw,
    /// An nftables set at netdev ingress.
    NftNetdev,
}

impl Defence {
    pub(crate) const ALL: [Self; 8] = [
        Self::Native,
        Self::Tcx,
        Self::Clsact,
        Self::Generic,
        Self::NativeBans,
        Self::NftablesBans,
        Self::NftRaw,
        Self::NftNetdev,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Native => "native",
            Self::Tcx => "tcx",
            Self::Clsact => "clsact",
            Self::Generic => "generic",
            Self::NativeBans => "native_bans",
            Self::NftablesBans => "nftables_bans",
            Self::NftRaw => "nft_raw",
            Self::NftNetdev => "nft_netdev",
        }
    }
}

/// A defence at work.
pub(crate) struct Active<'a> {
    gateway: &'a NetNs,
    what: What,
}

enum What {
    Nothing,
    Qantra(Option<Box<(Kernel, Pins)>>),
    QantraNftables(Box<NftPlane>),
    Nftables,
}

impl<'a> Active<'a> {
    pub(crate) fn begin(defence: Defence, gateway: &'a NetNs, port: &str) -> Result<Self> {
        let what = match defence {
            Defence::None => What::Nothing,
            Defence::NftRaw => nftables(gateway, "ip", "prerouting priority raw")?,
            Defence::NftNetdev => nftables(gateway, "netdev", &format!("ingress device {port} priority 0"))?,
            Defence::Native => qantra(gateway, port, Hook::Native, Lists::Feed)?,
            Defence::Tcx => qantra(gateway, port, Hook::Tcx, Lists::Feed)?,
            Defence::Clsact => qantra(gateway, port, Hook::Clsact, Lists::Feed)?,
            Defence::Generic => qantra(gateway, port, Hook::Generic, Lists::Feed)?,
            Defence::NativeBans => qantra(gateway, port, Hook::Native, Lists::Decisions)?,
            Defence::NftablesBans => last_rung(gateway, port)?,
        };
        Ok(Self { gateway, what })
    }

    /// Qantra's program on a native hook.
    pub(crate) fn program(&self) -> Option<BorrowedFd<'_>> {
        match &self.what {
            What::Qantra(Some(qantra)) => qantra.0.program(Entry::XdpFrags).ok(),
            _ => None,
        }
    }

    /// Packets that it dropped since it began.
    pub(crate) fn dropped(&self) -> Result<u64> {
        match &self.what {
            What::Nothing => Ok(0),
            What::Qantra(qantra) => {
                let (kernel, _) = qantra.as_deref().context("it has ended")?;
                let drops = kernel.verdicts()?.into_iter().filter(|count| count.verdict != Verdict::Pass);
                Ok(drops.map(|count| count.packets).sum())
            }
            What::QantraNftables(plane) => Ok(plane.bans()?.iter().map(|ban| ban.hits.packets).sum()),
            What::Nftables => {
                let output = self.gateway.run("nft", &["--json", "list", "counters"])?;
                let listing: serde_json::Value = serde_json::from_slice(&output.stdout)?;
                let mut items = listing["nftables"].as_array().into_iter().flatten();
                items.find_map(|item| item["counter"]["packets"].as_u64()).context("no counter")
            }
        }
    }
}

impl Drop for Active<'_> {
    fn drop(&mut self) {
        match &mut self.what {
            What::Nothing => {}
            What::Qantra(qantra) => {
                // Filters of clsact have no link that could be closed from elsewhere.
                let _inside = self.gateway.enter();
                drop(qantra.take());
            }
            What::QantraNftables(_) | What::Nftables => {
                let _flushed = self.gateway.run("nft", &["flush", "ruleset"]);
            }
        }
    }
}

/// How the sources are told to Qantra.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lists {
    Feed,
    Decisions,
}

fn qantra(gateway: &NetNs, port: &str, hook: Hook, lists: Lists) -> Result<What> {
    let pins = Pins::new();
    let bans_max = 2 * SOURCES as u32;
    let config =
        KernelConfig { object: pins.config().object, pin_dir: pins.path().into(), bans_max, ..KernelConfig::default() };
    let kernel = {
        let _inside = gateway.enter()?;
        Kernel::start(&config, &[interface(port, Role::Wan, hook)], false)?
    };
    let plane = kernel.plane();
    let sources = Sources::Banned.addresses();
    match lists {
        Lists::Feed => {
            plane.replace_feeds(&listed(&sources), &AddressRanges::default())?;
        }
        Lists::Decisions => {
            for source in sources {
                plane.ban(&ban(&source.to_string(), Direction::Source, None))?;
            }
        }
    }
    Ok(What::Qantra(Some(Box::new((kernel, pins)))))
}

fn last_rung(gateway: &NetNs, port: &str) -> Result<What> {
    let config = KernelConfig { bans_max: 2 * SOURCES as u32, ..KernelConfig::default() };
    let plane = {
        let _inside = gateway.enter()?;
        NftPlane::open(&config)?
    };
    for source in Sources::Banned.addresses() {
        plane.ban(&ban(&source.to_string(), Direction::Source, None))?;
    }
    plane.cover(&[(port, Role::Wan)])?;
    Ok(What::QantraNftables(Box::new(plane)))
}

/// The addresses as a list: merged, as the kernel half wants it.
fn listed(addresses: &[IpAddr]) -> AddressRanges {
    let nets = IpNet::aggregate(&addresses.iter().map(|address| IpNet::from(*address)).collect());
    let mut v4: Vec<(u32, u32)> = nets
        .into_iter()
        .filter_map(|net| match net {
            IpNet::V4(v4) => Some((v4.network().to_bits(), v4.broadcast().to_bits())),
            IpNet::V6(_) => None,
        })
        .collect();
    v4.sort_unstable();
    AddressRanges { v4, v6: Vec::new() }
}

fn nftables(gateway: &NetNs, family: &str, hook: &str) -> Result<What> {
    let elements: Vec<String> = Sources::Banned.addresses().iter().map(IpAddr::to_string).collect();
    let script = format!(
        "table {family} flood {{\n counter dropped {{ }}\n\
         set banned {{ type ipv4_addr; elements = {{ {} }}; }}\n\
         chain in {{ type filter hook {hook}; policy accept; ip saddr @banned counter name dropped drop; }}\n}}\n",
        elements.join(", ")
    );
    let mut nft = gateway.command("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn()?;
    nft.stdin.take().context("its input")?.write_all(script.as_bytes())?;
    ensure!(nft.wait()?.success(), "nft refuses the set");
    Ok(What::Nftables)
}
