//! Enters: prefixes that are banned or protected. Leaves: the bits that let the kernel skip lookups in vain. Several
//! prefixes may share a bit, so it is counted here who stands for it. It must never clear a bit that an entry needs.

use aya::maps::{Array, MapData, MapError};
use hashbrown::HashMap;
use ipnet::IpNet;
use qantra_common::filter::{self, Bits};

/// The filter and who stands for its bits.
pub(super) struct Filter {
    map: Array<MapData, u64>,
    /// How many entries stand for each bit that is set.
    counts: HashMap<u32, u32>,
}

impl Filter {
    pub(super) fn new(map: Array<MapData, u64>) -> Self {
        Self { map, counts: HashMap::new() }
    }

    /// To be called before the ban is inserted.
    pub(super) fn add_ban(&mut self, net: IpNet) -> Result<(), MapError> {
        self.add(ban_bits(net))
    }

    /// To be called after the ban was removed.
    pub(super) fn remove_ban(&mut self, net: IpNet) -> Result<(), MapError> {
        self.remove(ban_bits(net))
    }

    /// To be called before the prefix is inserted.
    pub(super) fn add_protected(&mut self, net: IpNet) -> Result<(), MapError> {
        self.add(prefix_bits(net, true))
    }

    /// To be called after the prefix was removed.
    pub(super) fn remove_protected(&mut self, net: IpNet) -> Result<(), MapError> {
        self.remove(prefix_bits(net, true))
    }

    /// Clears the bits of an earlier daemon that nothing stands for.
    pub(super) fn clear_strays(&mut self) -> Result<(), MapError> {
        for index in 0..filter::WORDS {
            let found = self.map.get(&index, 0)?;
            if found != 0 && found != self.word(index) {
                self.map.set(index, self.word(index), 0)?;
            }
        }
        Ok(())
    }

    fn add(&mut self, bits: Bits) -> Result<(), MapError> {
        for bit in bits.first..bits.first + bits.count {
            *self.counts.entry(bit).or_default() += 1;
        }
        self.write(bits)
    }

    fn remove(&mut self, bits: Bits) -> Result<(), MapError> {
        for bit in bits.first..bits.first + bits.count {
            if let Some(count) = self.counts.get_mut(&bit) {
                *count -= 1;
                if *count == 0 {
                    self.counts.remove(&bit);
                }
            }
        }
        self.write(bits)
    }

    fn write(&mut self, bits: Bits) -> Result<(), MapError> {
        for index in bits.first / 64..=(bits.first + bits.count - 1) / 64 {
            self.map.set(index, self.word(index), 0)?;
        }
        Ok(())
    }

    fn word(&self, index: u32) -> u64 {
        let is_set = |bit: &u32| self.counts.contains_key(&(index * 64 + bit));
        (0..64).filter(is_set).fold(0, |word, bit| word | 1 << bit)
    }
}

fn ban_bits(net: IpNet) -> Bits {
    let one = |first| Bits { first, count: 1 };
    match net {
        IpNet::V4(v4) if v4.prefix_len() == 32 => one(filter::exact_v4(v4.addr().into())),
        IpNet::V6(v6) if matches!(v6.prefix_len(), 64 | 128) => one(filter::exact_v6(upper(v6.addr()))),
        _ => prefix_bits(net, false),
    }
}

fn prefix_bits(net: IpNet, is_protected: bool) -> Bits {
    match net {
        IpNet::V4(v4) => filter::prefix_bits_v4(v4.network().into(), v4.prefix_len(), is_protected),
        IpNet::V6(v6) => filter::prefix_bits_v6(upper(v6.network()), v6.prefix_len(), is_protected),
    }
}

fn upper(address: std::net::Ipv6Addr) -> u64 {
    (u128::from(address) >> 64) as u64
}
