//! Enters: sets, chains and rules in our own words. Leaves: nf_tables messages. It must never send one.
//!
//! Constants are from the kernel's `linux/netfilter/nf_tables.h`.

use ipnet::IpNet;
use netlink_packet_core::{DefaultNla, Nla};
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterProtoFamily,
    nftables::{
        Bitwise, ChainAttribute, ChainMessage, Cmp, DataAttribute, DevHookNumber, Expressions, Hook, HookNumber,
        Immediate, InetHookNumber, ListAttribute, Lookup, Meta, MetaKey, NfTablesMessage, Operator, Payload, Register,
        RuleAttribute, RuleMessage, SetAttribute, SetDescription, SetElementList, SetElementMessage, SetFlags,
        SetMessage, TableAttribute, TableMessage, Verdict, VerdictAttribute,
    },
    none::ControlMessage,
};

/// The one table.
pub(super) const TABLE: &str = "qantra";

const SUBSYSTEM: u16 = 10;
const NF_DROP: u32 = 0;
const PAYLOAD_NETWORK_HEADER: u32 = 1;
/// Before flow tables and other filters at ingress.
const INGRESS_PRIORITY: i32 = -500;
/// As `raw` in nft(8): before connection tracking.
const RAW_PRIORITY: i32 = -300;

/// The kernel's tables that can stand in for a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// A chain at each interface's ingress, before anything else of the network stack.
    Netdev,
    /// A chain before routing, for kernels without `NF_TABLES_NETDEV`.
    Inet,
}

impl Family {
    const fn protocol(self) -> NetfilterProtoFamily {
        match self {
            Self::Netdev => NetfilterProtoFamily::NetDev,
            Self::Inet => NetfilterProtoFamily::Inet,
        }
    }

    /// A message for this family's table.
    pub(super) fn message(self, message: NfTablesMessage) -> NetfilterMessage {
        NetfilterMessage::new(NetfilterHeader::new(self.protocol(), 0, 0), message)
    }
}

/// What a transaction begins and ends with.
pub(super) fn brackets() -> (NetfilterMessage, NetfilterMessage) {
    let header = || NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, SUBSYSTEM);
    let bracket = |control: ControlMessage| NetfilterMessage::new(header(), control);
    (bracket(ControlMessage::BatchBegin), bracket(ControlMessage::BatchEnd))
}

/// The version of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Ip {
    V4,
    V6,
}

impl Ip {
    pub(super) const BOTH: [Self; 2] = [Self::V4, Self::V6];

    pub(super) const fn of(net: &IpNet) -> Self {
        match net {
            IpNet::V4(_) => Self::V4,
            IpNet::V6(_) => Self::V6,
        }
    }

    pub(super) const fn bits(self) -> u8 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }

    const fn bytes(self) -> u32 {
        self.bits() as u32 / 8
    }

    pub(super) const fn digit(self) -> char {
        match self {
            Self::V4 => '4',
            Self::V6 => '6',
        }
    }

    /// `ipv4_addr` and `ipv6_addr` of nft(8), so that it lists the sets as people write them.
    const fn key_type(self) -> u32 {
        match self {
            Self::V4 => 7,
            Self::V6 => 8,
        }
    }

    const fn ethertype(self) -> u16 {
        match self {
            Self::V4 => 0x0800,
            Self::V6 => 0x86dd,
        }
    }
}

/// Which end of a packet is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum End {
    Source,
    Destination,
}

impl End {
    pub(super) const BOTH: [Self; 2] = [Self::Source, Self::Destination];

    /// Also the name of the chain whose rules compare it.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Destination => "destination",
        }
    }

    const fn offset(self, ip: Ip) -> u32 {
        match (self, ip) {
            (Self::Source, Ip::V4) => 12,
            (Self::Destination, Ip::V4) => 16,
            (Self::Source, Ip::V6) => 8,
            (Self::Destination, Ip::V6) => 24,
        }
    }
}

pub(super) fn new_table() -> NfTablesMessage {
    NfTablesMessage::NewTable(TableMessage { attributes: vec![TableAttribute::Name(TABLE.into())] })
}

pub(super) fn get_table() -> NfTablesMessage {
    NfTablesMessage::GetTable(TableMessage { attributes: vec![TableAttribute::Name(TABLE.into())] })
}

pub(super) fn delete_table() -> NfTablesMessage {
    NfTablesMessage::DeleteTable(TableMessage { attributes: vec![TableAttribute::Name(TABLE.into())] })
}

fn chain(name: &str, more: Vec<ChainAttribute>) -> ChainMessage {
    let mut attributes = vec![ChainAttribute::Table(TABLE.into()), ChainAttribute::Name(name.into())];
    attributes.extend(more);
    ChainMessage { attributes }
}

/// A chain that others jump to.
pub(super) fn new_chain(name: &str) -> NfTablesMessage {
    NfTablesMessage::NewChain(chain(name, Vec::new()))
}

/// The chain that packets of an interface enter by.
pub(super) fn new_entry(family: Family, name: &str, interface: &str) -> NfTablesMessage {
    let hook = match family {
        Family::Netdev => vec![
            Hook::Number(HookNumber::Dev(DevHookNumber::Ingress)),
            Hook::Priority(INGRESS_PRIORITY.cast_unsigned()),
            Hook::NetDeviceName(interface.into()),
        ],
        Family::Inet => vec![
            Hook::Number(HookNumber::Inet(InetHookNumber::PreRouting)),
            Hook::Priority(RAW_PRIORITY.cast_unsigned()),
        ],
    };
    NfTablesMessage::NewChain(chain(name, vec![ChainAttribute::Hook(hook), ChainAttribute::Type("filter".into())]))
}

/// The interface that a hook is bound to.
pub(super) fn device(hook: Hook) -> Option<String> {
    const NAME: u16 = 1;
    match hook {
        Hook::NetDeviceName(name) => Some(name),
        // Kernels since 5.5 answer with a list.
        Hook::NetDevices(list) => list.iter().find(|device| device.kind() == NAME).and_then(|device| {
            let mut name = vec![0; device.value_len()];
            device.emit_value(&mut name);
            String::from_utf8(name).ok().map(|name| name.trim_end_matches('\0').to_owned())
        }),
        _ => None,
    }
}

pub(super) fn delete_chain(name: &str) -> NfTablesMessage {
    NfTablesMessage::DeleteChain(chain(name, Vec::new()))
}

pub(super) fn list_chains() -> NfTablesMessage {
    NfTablesMessage::GetChain(ChainMessage { attributes: vec![ChainAttribute::Table(TABLE.into())] })
}

/// A rule at a chain's end.
pub(super) fn new_rule(chain: &str, expressions: Vec<Expressions>) -> NfTablesMessage {
    let expressions = expressions.into_iter().map(ListAttribute::from).collect();
    NfTablesMessage::NewRule(RuleMessage {
        attributes: vec![
            RuleAttribute::Table(TABLE.into()),
            RuleAttribute::Chain(chain.into()),
            RuleAttribute::Expressions(expressions),
        ],
    })
}

/// Removes every rule of a chain.
pub(super) fn flush_chain(chain: &str) -> NfTablesMessage {
    NfTablesMessage::DeleteRule(RuleMessage {
        attributes: vec![RuleAttribute::Table(TABLE.into()), RuleAttribute::Chain(chain.into())],
    })
}

/// What a set is made for.
pub(super) struct NewSet<'a> {
    pub(super) name: &'a str,
    pub(super) ip: Ip,
    pub(super) flags: SetFlags,
    /// How many elements it takes; `None`: any number.
    pub(super) limit: Option<u32>,
    /// What each element counts.
    pub(super) counts: Option<Expressions>,
}

/// A set. `id` must be another for each set of a transaction.
pub(super) fn new_set(set: NewSet<'_>, id: u32) -> NfTablesMessage {
    let mut attributes = vec![SetAttribute::Table(TABLE.into()), SetAttribute::Name(set.name.into())];
    let counts = if set.counts.is_some() { SetFlags::Expression } else { SetFlags::empty() };
    attributes.extend([
        SetAttribute::Flags(set.flags | counts),
        SetAttribute::KeyType(set.ip.key_type()),
        SetAttribute::KeyLen(set.ip.bytes()),
        SetAttribute::Id(id),
    ]);
    attributes.extend(set.limit.map(|limit| SetAttribute::Description(vec![SetDescription::Size(limit)])));
    attributes.extend(set.counts.map(|counts| SetAttribute::ListExpressions(vec![counts.into()])));
    NfTablesMessage::NewSet(SetMessage { attributes })
}

pub(super) fn delete_set(name: &str) -> NfTablesMessage {
    let attributes = vec![SetAttribute::Table(TABLE.into()), SetAttribute::Name(name.into())];
    NfTablesMessage::DeleteSet(SetMessage { attributes })
}

pub(super) fn list_sets() -> NfTablesMessage {
    NfTablesMessage::GetSet(SetMessage { attributes: vec![SetAttribute::Table(TABLE.into())] })
}

/// What is said about elements of a set: put in, take out, look up. Without elements it is about all of them.
pub(super) fn of_set(
    set: &str,
    elements: Vec<ListAttribute<netlink_packet_netfilter::nftables::SetElementAttribute>>,
) -> SetElementMessage {
    let mut attributes = vec![SetElementList::Table(TABLE.into()), SetElementList::Set(set.into())];
    if !elements.is_empty() {
        attributes.push(SetElementList::Elements(elements));
    }
    SetElementMessage { attributes }
}

/// The packet is IPv4, or IPv6.
pub(super) fn is_ip(ip: Ip) -> Vec<Expressions> {
    vec![
        Expressions::Meta(vec![Meta::DestinationRegister(Register::Reg1), Meta::Key(MetaKey::EtherTypeProtocol)]),
        equals(ip.ethertype().to_be_bytes().to_vec()),
    ]
}

/// The packet came in by this interface.
pub(super) fn came_by(interface: &str) -> Vec<Expressions> {
    let mut name = interface.as_bytes().to_vec();
    name.resize(libc::IFNAMSIZ, 0);
    vec![Expressions::Meta(vec![Meta::DestinationRegister(Register::Reg1), Meta::Key(MetaKey::Iifname)]), equals(name)]
}

fn equals(value: Vec<u8>) -> Expressions {
    Expressions::Cmp(vec![
        Cmp::SourceRegister(Register::Reg1),
        Cmp::Op(Operator::Equal),
        Cmp::Data(DataAttribute::Value(value)),
    ])
}

/// Reads an address of the packet, as far as the prefix length goes.
pub(super) fn address(ip: Ip, end: End, prefix_len: u8) -> Vec<Expressions> {
    let mut expressions = vec![Expressions::Payload(vec![
        Payload::DestinationRegister(Register::Reg1),
        Payload::Base(PAYLOAD_NETWORK_HEADER),
        Payload::Offset(end.offset(ip)),
        Payload::Len(ip.bytes()),
    ])];
    if prefix_len < ip.bits() {
        let bytes = ip.bytes() as usize;
        let mask = u128::MAX.checked_shl(128 - u32::from(prefix_len)).unwrap_or(0).to_be_bytes();
        expressions.push(Expressions::Bitwise(vec![
            Bitwise::SourceRegister(Register::Reg1),
            Bitwise::DestinationRegister(Register::Reg1),
            Bitwise::Length(ip.bytes()),
            Bitwise::Mask(DataAttribute::Value(mask[..bytes].to_vec())),
            Bitwise::Xor(DataAttribute::Value(vec![0; bytes])),
        ]));
    }
    expressions
}

/// What was read is in the set.
pub(super) fn is_in(set: &str) -> Expressions {
    Expressions::Lookup(vec![Lookup::Set(set.into()), Lookup::SourceRegister(Register::Reg1)])
}

/// Notes what was read in a set, with a count of its own, for so long; when the set is full the rule ends here.
pub(super) fn note_in(set: &str, timeout_ms: u64) -> Expressions {
    const NAME: u16 = 1;
    const OPERATION: u16 = 3;
    const KEY_REGISTER: u16 = 4;
    const TIMEOUT: u16 = 6;
    const UPDATE: u32 = 1;
    let name = [set.as_bytes(), &[0]].concat();
    Expressions::Other {
        expression_type: "dynset".into(),
        attributes: vec![
            DefaultNla::new(NAME, name),
            DefaultNla::new(OPERATION, UPDATE.to_be_bytes().to_vec()),
            DefaultNla::new(KEY_REGISTER, u32::from(Register::Reg1).to_be_bytes().to_vec()),
            DefaultNla::new(TIMEOUT, timeout_ms.to_be_bytes().to_vec()),
        ],
    }
}

pub(super) fn drop() -> Expressions {
    verdict(Verdict::Other(NF_DROP), None)
}

/// Back to where the chain was entered from.
pub(super) fn leave() -> Expressions {
    verdict(Verdict::Return, None)
}

pub(super) fn jump(chain: &str) -> Expressions {
    verdict(Verdict::Jump, Some(chain))
}

pub(super) fn go_to(chain: &str) -> Expressions {
    verdict(Verdict::Goto, Some(chain))
}

fn verdict(code: Verdict, chain: Option<&str>) -> Expressions {
    let mut attributes = vec![VerdictAttribute::Code(code)];
    attributes.extend(chain.map(|chain| VerdictAttribute::Chain(chain.into())));
    Expressions::Immediate(vec![
        Immediate::DestinationRegister(Register::Verdict),
        Immediate::Data(DataAttribute::Verdict(attributes)),
    ])
}
