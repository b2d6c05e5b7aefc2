//! Enters: bans, the protected set and feeds. Leaves: the same in the kernel half's maps and, while an interface stands on
//! the last rung, in nftables. Enforcement knows nothing of the two. It must never let one plane lack what the other has.

use std::sync::Arc;

use ipnet::IpNet;
use parking_lot::{Mutex, RwLock};

use crate::{
    config::{KernelConfig, Role},
    enforce::{AddressRanges, BanHits, FeedHits, FeedPlane, KernelBan, KernelPlane, PlaneError},
    nft::{self, NftPlane},
    xdp::{BanPlane, Kernel, Rung, XdpError},
};

/// Both planes. The kernel half's always takes bans, so that an interface can climb without a gap.
pub(super) struct Planes<P = BanPlane> {
    programs: Arc<P>,
    nft: RwLock<Option<NftPlane>>,
    config: KernelConfig,
    protected: Mutex<Vec<IpNet>>,
    problem: Mutex<Option<String>>,
}

/// An interface is covered by neither.
#[derive(Debug, thiserror::Error)]
pub enum CoverError {
    /// No program, and no nftables either.
    #[error("interface `{names}`: no program is attached, and nftables does not stand in: {source}")]
    Nftables {
        /// Their names.
        names: String,
        /// Why.
        source: PlaneError,
    },
    /// What was left cannot be detached.
    #[error(transparent)]
    Kernel(#[from] XdpError),
}

impl Planes {
    /// Brings both planes to what either holds: an earlier daemon may have left bans in nftables alone.
    ///
    /// # Errors
    /// A plane cannot be read or written.
    pub(super) fn join(kernel: &Kernel, config: &KernelConfig) -> Result<Self, PlaneError> {
        let programs = kernel.plane();
        let left = nft::is_there().then(|| NftPlane::open(config)).transpose()?;
        if let Some(nft) = &left {
            copy(nft, &*programs)?;
            copy(&*programs, nft)?;
        }
        Ok(Self {
            programs,
            nft: RwLock::new(left),
            config: config.clone(),
            protected: Mutex::default(),
            problem: Mutex::default(),
        })
    }

    /// Lets nftables drop on exactly the interfaces that no program is attached to, and only then detaches programs that
    /// were left for it. With none of them, nftables is left. Returns whether feeds are to be put in force once more.
    ///
    /// # Errors
    /// Interfaces without a program stay without nftables as well; the status says so until it works.
    pub(super) fn cover(&self, kernel: &Kernel) -> Result<bool, CoverError> {
        let wanted = kernel.status().iter().filter(|status| status.rung == Rung::Nftables);
        let wanted: Vec<_> = wanted.map(|status| (status.name.as_str(), status.role)).collect();
        let covered = self.cover_these(&wanted).map_err(|source| {
            let names = wanted.iter().map(|(name, _)| *name).collect::<Vec<_>>().join("`, `");
            CoverError::Nftables { names, source }
        });
        *self.problem.lock() = covered.as_ref().err().map(ToString::to_string);
        let is_fresh = covered?;
        kernel.settle()?;
        Ok(is_fresh)
    }

    /// What is wrong, in one line.
    pub(super) fn problem(&self) -> Option<String> {
        self.problem.lock().clone()
    }

    /// Returns whether nftables was not in use before.
    fn cover_these(&self, wanted: &[(&str, Role)]) -> Result<bool, PlaneError> {
        let mut nft = self.nft.write();
        if wanted.is_empty() {
            if nft.take().is_some() {
                nft::detach()?;
            }
            return Ok(false);
        }
        let is_fresh = nft.is_none();
        if is_fresh {
            let fresh = NftPlane::open(&self.config)?;
            fresh.protect(&self.protected.lock())?;
            copy(&*self.programs, &fresh)?;
            *nft = Some(fresh);
        }
        nft.as_ref().map_or(Ok(()), |nft| nft.cover(wanted))?;
        Ok(is_fresh)
    }
}

/// Puts into one plane what it lacks of another.
fn copy(from: &impl KernelPlane, to: &impl KernelPlane) -> Result<(), PlaneError> {
    let there: std::collections::HashMap<IpNet, KernelBan> = to.bans()?.into_iter().map(|ban| (ban.net, ban)).collect();
    let now_boot_ns = crate::clock::boot_ns();
    for ban in from.bans()? {
        let is_over = ban.expires_boot_ns.is_some_and(|end| end <= now_boot_ns);
        let same = there.get(&ban.net).is_some_and(|held| {
            (held.decision, held.direction, held.expires_boot_ns) == (ban.decision, ban.direction, ban.expires_boot_ns)
        });
        if !is_over && !same {
            to.ban(&ban)?;
        }
    }
    Ok(())
}

/// What a ban stopped on both planes: each packet meets one of them.
fn sum(a: Option<BanHits>, b: Option<BanHits>) -> Option<BanHits> {
    let (Some(a), Some(b)) = (a, b) else { return a.or(b) };
    let first_boot_ns = match (a.first_boot_ns, b.first_boot_ns) {
        (0, other) | (other, 0) => other,
        (a, b) => a.min(b),
    };
    Some(BanHits {
        packets: a.packets.saturating_add(b.packets),
        bytes: a.bytes.saturating_add(b.bytes),
        first_boot_ns,
        last_boot_ns: a.last_boot_ns.max(b.last_boot_ns),
    })
}

impl<P: KernelPlane> Planes<P> {
    /// Asks nftables as well, when it stands in somewhere.
    fn also<T: Default>(&self, ask: impl FnOnce(&NftPlane) -> Result<T, PlaneError>) -> Result<T, PlaneError> {
        self.nft.read().as_ref().map_or_else(|| Ok(T::default()), ask)
    }
}

impl<P: KernelPlane> KernelPlane for Planes<P> {
    fn ban(&self, ban: &KernelBan) -> Result<(), PlaneError> {
        // Both, even when one refuses: half of the interfaces is better than none.
        let programs = self.programs.ban(ban);
        self.also(|nft| nft.ban(ban)).and(programs)
    }

    fn unban(&self, net: IpNet) -> Result<Option<BanHits>, PlaneError> {
        let programs = self.programs.unban(net);
        let nft = self.also(|nft| nft.unban(net))?;
        Ok(sum(programs?, nft))
    }

    fn hits(&self, net: IpNet) -> Result<Option<BanHits>, PlaneError> {
        Ok(sum(self.programs.hits(net)?, self.also(|nft| nft.hits(net))?))
    }

    fn bans(&self) -> Result<Vec<KernelBan>, PlaneError> {
        let mut bans = self.programs.bans()?;
        let mut nft: std::collections::HashMap<IpNet, KernelBan> =
            self.also(KernelPlane::bans)?.into_iter().map(|ban| (ban.net, ban)).collect();
        for ban in &mut bans {
            let other = nft.remove(&ban.net).map(|other| other.hits);
            ban.hits = sum(Some(ban.hits), other).unwrap_or_default();
        }
        // What a full map had no room for.
        bans.extend(nft.into_values());
        Ok(bans)
    }

    fn protect(&self, networks: &[IpNet]) -> Result<(), PlaneError> {
        networks.clone_into(&mut self.protected.lock());
        let programs = self.programs.protect(networks);
        self.also(|nft| nft.protect(networks)).and(programs)
    }
}

impl<P: KernelPlane + FeedPlane> FeedPlane for Planes<P> {
    fn replace_feeds(&self, inbound: &AddressRanges, outbound: &AddressRanges) -> Result<u64, PlaneError> {
        let programs = self.programs.replace_feeds(inbound, outbound)?;
        Ok(programs + self.also(|nft| nft.replace_feeds(inbound, outbound))?)
    }

    fn take_feed_hits(&self) -> Result<FeedHits, PlaneError> {
        let mut hits = self.programs.take_feed_hits()?;
        let nft = self.also(FeedPlane::take_feed_hits)?;
        hits.by_address.extend(nft.by_address);
        hits.other_packets += nft.other_packets;
        hits.other_bytes += nft.other_bytes;
        Ok(hits)
    }
}
