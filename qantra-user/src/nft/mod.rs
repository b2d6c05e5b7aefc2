//! Enters: bans, the protected set and feeds, as for the kernel half. Leaves: nftables sets that drop the same packets on
//! interfaces that no program can be attached to: the last rung of the hook ladder. It must never touch a table but its
//! own, and never take what it put there away when the daemon ends.
//!
//! Table `qantra` has one chain per interface, which jumps to the chain `source` and, on LAN interfaces, `destination`.
//! Each of these lets the protected set through first, then drops what is in a set: one hash set for each prefix length
//! that occurs (an interval set would refuse a ban inside another), then those of the feeds.
//!
//! What differs from the programs: expiries are timeouts, which the kernel counts in time that the box is awake, so after
//! a suspend the daemon ends a ban, not the kernel; counts are of buffers after GRO, not of segments; packets are neither
//! counted by source nor limited, and malformed ones are left to the network stack.

mod bans;
mod element;
mod feeds;
mod message;

use std::{
    collections::{BTreeSet, HashMap},
    io,
};

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE, NLM_F_DUMP, NetlinkDeserializable, NetlinkSerializable};
use netlink_packet_netfilter::{
    NetfilterMessage, NetfilterMessageInner,
    nftables::{ChainAttribute, NfTablesMessage, SetAttribute, SetFlags},
};
use netlink_sys::protocols::NETLINK_NETFILTER;
use parking_lot::Mutex;

pub use message::Family;

use crate::{
    config::{KernelConfig, Role},
    enforce::PlaneError,
    netlink::Netlink,
};
use bans::{BanSet, Sighting};
use element::{Element, Exchange};
use message::{End, Ip, NewSet};

/// Bytes of one transaction: more than a program without privileges may send at once.
const DATAGRAM_BYTES: usize = 2 * 1024 * 1024;
/// Elements of one message: their attribute has a length of 16 bits, and one takes 200 bytes at most.
const ELEMENTS_PER_MESSAGE: usize = 300;

/// The table `qantra`, as enforcement sees it.
pub struct NftPlane(Mutex<Table>);

struct Table {
    family: Family,
    netlink: Netlink,
    limits: KernelConfig,
    /// The sets of bans that there are.
    ban_sets: BTreeSet<BanSet>,
    /// When a ban was seen to have stopped something.
    sightings: HashMap<IpNet, Sighting>,
    feeds: feeds::InForce,
}

/// The messages of one transaction.
type Batch = Vec<(NetfilterMessage, u16)>;

impl NftPlane {
    /// Makes the table, or adopts the one that is there with all that is in it. Nothing is dropped before
    /// [`cover`](Self::cover).
    ///
    /// # Errors
    /// The kernel has no nftables, or CAP_NET_ADMIN is missing.
    pub fn open(config: &KernelConfig) -> Result<Self, PlaneError> {
        Self::open_as(Family::Netdev, config).or_else(|_| Self::open_as(Family::Inet, config))
    }

    /// [`open`](Self::open) for one family.
    ///
    /// # Errors
    /// As there.
    pub fn open_as(family: Family, config: &KernelConfig) -> Result<Self, PlaneError> {
        let failed = failed("opening the table");
        let netlink = Netlink::open(NETLINK_NETFILTER).map_err(&failed)?;
        netlink.allow_datagrams_of(DATAGRAM_BYTES).map_err(&failed)?;
        let mut table = Table {
            family,
            netlink,
            limits: config.clone(),
            ban_sets: BTreeSet::new(),
            sightings: HashMap::new(),
            feeds: feeds::InForce::default(),
        };
        table.make().map_err(&failed)?;
        table.adopt().map_err(&failed)?;
        Ok(Self(Mutex::new(table)))
    }

    /// Drops on exactly these interfaces from now on: others are left alone again, those that are covered already stay
    /// untouched.
    ///
    /// # Errors
    /// The kernel refuses; then nothing was changed.
    pub fn cover(&self, interfaces: &[(&str, Role)]) -> Result<(), PlaneError> {
        self.0.lock().cover(interfaces).map_err(failed("attaching to interfaces"))
    }
}

/// Removes the table, if there is one: bans on its interfaces end. Returns whether there was.
///
/// # Errors
/// The kernel refuses.
pub fn detach() -> Result<bool, PlaneError> {
    let failed = failed("removing the table");
    let mut netlink = Netlink::open(NETLINK_NETFILTER).map_err(&failed)?;
    let mut removed = false;
    for family in [Family::Netdev, Family::Inet] {
        let (begin, end) = message::brackets();
        match netlink.transact(begin, vec![(family.message(message::delete_table()), 0)], end) {
            Ok(()) => removed = true,
            // No such table, or the kernel has no such family, or no nftables at all.
            Err(error)
                if matches!(
                    error.raw_os_error(),
                    Some(libc::ENOENT | libc::EOPNOTSUPP | libc::EAFNOSUPPORT | libc::EINVAL)
                ) => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(removed)
}

/// Whether there is a table of an earlier start.
#[must_use]
pub fn is_there() -> bool {
    let Ok(mut netlink) = Netlink::open(NETLINK_NETFILTER) else { return false };
    [Family::Netdev, Family::Inet].iter().any(|family| {
        let question = family.message(message::get_table());
        netlink.ask(question, 0).is_ok_and(|answers| !answers.is_empty())
    })
}

fn failed(what: &'static str) -> impl Fn(io::Error) -> PlaneError {
    move |source| PlaneError::Nftables { what, source }
}

fn protected_set(ip: Ip) -> String {
    format!("protected{}", ip.digit())
}

/// The chain of an interface; its name says what it does, so that it can be adopted.
fn entry_chain(interface: &str, role: Role) -> String {
    let role = if role == Role::Wan { "wan" } else { "lan" };
    format!("{role}_{interface}")
}

impl Table {
    /// What is always there: the chains, the protected set, what feeds stopped.
    fn make(&mut self) -> io::Result<()> {
        let mut batch = Vec::new();
        self.add(&mut batch, message::new_table());
        if self.chains()?.iter().any(|chain| chain.name == End::Source.as_str()) {
            return Ok(());
        }
        for (id, ip) in (1..).zip(Ip::BOTH) {
            let (name, flags) = (protected_set(ip), SetFlags::Interval);
            let set = NewSet { name: &name, ip, flags, limit: None, counts: None };
            self.add(&mut batch, message::new_set(set, id));
        }
        for end in End::BOTH {
            self.add(&mut batch, message::new_chain(end.as_str()));
            for ip in Ip::BOTH {
                let mut rule = message::is_ip(ip);
                rule.extend(message::address(ip, end, ip.bits()));
                rule.extend([message::is_in(&protected_set(ip)), message::leave()]);
                self.append(&mut batch, message::new_rule(end.as_str(), rule));
            }
        }
        feeds::make(self, &mut batch);
        self.transact(batch)
    }

    /// Learns what an earlier daemon left.
    fn adopt(&mut self) -> io::Result<()> {
        let sets = self.sets()?;
        self.ban_sets = sets.iter().filter_map(|name| BanSet::parse(name)).collect();
        self.feeds = feeds::in_force(self, &sets)?;
        Ok(())
    }

    fn cover(&mut self, interfaces: &[(&str, Role)]) -> io::Result<()> {
        let present = self.chains()?;
        let is_right = |chain: &Chain, (interface, role): &(&str, Role)| {
            let is_bound = self.family == Family::Inet || chain.device.as_deref() == Some(*interface);
            chain.name == entry_chain(interface, *role) && is_bound
        };
        let mut batch = Vec::new();
        // The new ones come first, so that an interface whose role changed is never without one.
        for wanted in interfaces.iter().filter(|wanted| !present.iter().any(|chain| is_right(chain, wanted))) {
            let (interface, role) = *wanted;
            let name = entry_chain(interface, role);
            if present.iter().any(|chain| chain.name == name) {
                self.remove_chain(&mut batch, &name);
            }
            self.add(&mut batch, message::new_entry(self.family, &name, interface));
            let ends: &[End] = if role == Role::Lan { &End::BOTH } else { &[End::Source] };
            for end in ends {
                let mut rule = if self.family == Family::Inet { message::came_by(interface) } else { Vec::new() };
                rule.push(message::jump(end.as_str()));
                self.append(&mut batch, message::new_rule(&name, rule));
            }
        }
        let is_entry = |chain: &&Chain| chain.name.starts_with("wan_") || chain.name.starts_with("lan_");
        for chain in present.iter().filter(is_entry) {
            if !interfaces.iter().any(|(interface, role)| chain.name == entry_chain(interface, *role)) {
                self.remove_chain(&mut batch, &chain.name);
            }
        }
        self.transact(batch)
    }

    fn remove_chain(&self, batch: &mut Batch, name: &str) {
        self.push(batch, message::flush_chain(name), 0);
        self.push(batch, message::delete_chain(name), 0);
    }

    fn push(&self, batch: &mut Batch, message: NfTablesMessage, flags: u16) {
        batch.push((self.family.message(message), flags));
    }

    /// A message that makes something.
    fn add(&self, batch: &mut Batch, message: NfTablesMessage) {
        self.push(batch, message, NLM_F_CREATE);
    }

    /// A message that makes a rule at a chain's end.
    fn append(&self, batch: &mut Batch, message: NfTablesMessage) {
        self.push(batch, message, NLM_F_CREATE | NLM_F_APPEND);
    }

    /// Puts a batch into effect in one step.
    fn transact(&mut self, batch: Batch) -> io::Result<()> {
        let (begin, end) = message::brackets();
        self.netlink.transact(begin, batch, end)
    }

    /// Messages that put elements into a set, as many as it takes.
    fn add_elements(&self, batch: &mut Batch, set: &str, elements: Vec<Element>) {
        for chunk in elements.chunks(ELEMENTS_PER_MESSAGE) {
            let elements = message::of_set(set, chunk.to_vec());
            self.push(batch, NfTablesMessage::NewSetElement(elements), NLM_F_CREATE);
        }
    }

    /// A message that empties a set.
    fn empty_set(&self, batch: &mut Batch, set: &str) {
        self.push(batch, NfTablesMessage::DeleteSetElement(message::of_set(set, Vec::new())), 0);
    }

    /// The elements of a set.
    fn elements(&mut self, set: &str) -> io::Result<Vec<element::Read>> {
        let question = || NfTablesMessage::GetSetElement(message::of_set(set, Vec::new()));
        let answers = self.list(|family| Exchange::Question(family.message(question())))?;
        Ok(answers.into_iter().flat_map(element::read).collect())
    }

    /// One element of a set; `None` when there is none, or its time is over.
    fn element(&mut self, set: &str, key: Element) -> io::Result<Option<element::Read>> {
        let question = NfTablesMessage::GetSetElement(message::of_set(set, vec![key]));
        match self.netlink.ask(Exchange::Question(self.family.message(question)), 0) {
            Ok(answers) => Ok(answers.into_iter().flat_map(element::read).next()),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn sets(&mut self) -> io::Result<Vec<String>> {
        let name = |attributes: Vec<SetAttribute>| {
            attributes.into_iter().find_map(|attribute| match attribute {
                SetAttribute::Name(name) => Some(name),
                _ => None,
            })
        };
        let answers = self.list_messages(message::list_sets)?;
        Ok(answers
            .into_iter()
            .filter_map(|answer| match answer {
                NfTablesMessage::NewSet(set) => name(set.attributes),
                _ => None,
            })
            .collect())
    }

    fn chains(&mut self) -> io::Result<Vec<Chain>> {
        let answers = self.list_messages(message::list_chains)?;
        Ok(answers
            .into_iter()
            .filter_map(|answer| match answer {
                NfTablesMessage::NewChain(chain) => Chain::read(chain.attributes),
                _ => None,
            })
            .collect())
    }

    /// A list of something of this table's family.
    fn list_messages(&mut self, question: fn() -> NfTablesMessage) -> io::Result<Vec<NfTablesMessage>> {
        let answers = self.list(|family| family.message(question()))?;
        let inner = |answer: NetfilterMessage| match answer.inner {
            NetfilterMessageInner::NfTables(message) => Some(message),
            _ => None,
        };
        Ok(answers.into_iter().filter_map(inner).collect())
    }

    /// A list of something; begun again when it changed meanwhile.
    fn list<M>(&mut self, question: impl Fn(Family) -> M) -> io::Result<Vec<M>>
    where
        M: NetlinkSerializable + NetlinkDeserializable,
    {
        const TRIES: usize = 5;
        let mut tries = 1..;
        loop {
            match self.netlink.ask(question(self.family), NLM_F_DUMP) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted && tries.next() < Some(TRIES) => {}
                answers => return answers,
            }
        }
    }
}

/// A chain that is there.
struct Chain {
    name: String,
    /// The interface that it is bound to.
    device: Option<String>,
}

impl Chain {
    /// `None` for a chain of another table: a list may hold those of all tables of the family.
    fn read(attributes: Vec<ChainAttribute>) -> Option<Self> {
        let (mut table, mut name, mut device) = (None, None, None);
        for attribute in attributes {
            match attribute {
                ChainAttribute::Table(found) => table = Some(found),
                ChainAttribute::Name(found) => name = Some(found),
                ChainAttribute::Hook(hook) => device = hook.into_iter().find_map(message::device),
                _ => {}
            }
        }
        (table? == message::TABLE).then_some(Self { name: name?, device })
    }
}
