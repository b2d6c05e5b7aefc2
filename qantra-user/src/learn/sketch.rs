//! Enters: a request that was taken apart. Leaves: a [`RequestSketch`]: hashes and shapes of a fixed size, made in one
//! allocation. It must never hold a value.

use std::{
    hash::BuildHasher as _,
    net::{IpAddr, Ipv6Addr},
};

use foldhash::quality::FixedState;

use super::shape::{Endpoint, ValueType, characters, length_step};
use crate::inspect::{FieldKind, Fields};

/// Most fields of a request that are learnt from.
const FIELDS_MAX: usize = 16;

/// What is kept of one field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FieldSketch {
    /// Site, endpoint and name; headers and cookies are the same for a whole site.
    pub parameter: u64,
    /// The value.
    pub value: u64,
    /// Its kinds of characters.
    pub characters: u32,
    /// Its length, in steps.
    pub length: u8,
    /// Its type.
    pub value_type: ValueType,
}

/// What is learnt of one request.
#[derive(Debug, Clone, Copy)]
pub struct RequestSketch {
    /// The site.
    pub site: u64,
    /// The site's endpoint.
    pub endpoint: u64,
    /// Its name.
    pub name: Endpoint,
    /// Who sent it: see [`Sketcher::source`].
    pub source: u64,
    /// The classifier's confidence, lowered by what is known of the field; 0 where the gate did not flag.
    pub score: f32,
    fields: [Option<FieldSketch>; FIELDS_MAX],
}

impl RequestSketch {
    /// Its fields.
    pub fn fields(&self) -> impl Iterator<Item = &FieldSketch> {
        self.fields.iter().flatten()
    }
}

/// Makes sketches. The seed is the box's own: nobody outside can choose what collides, or tell addresses from hashes.
#[derive(Debug, Clone)]
pub struct Sketcher {
    hasher: FixedState,
}

impl Sketcher {
    /// A sketcher with the box's seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { hasher: FixedState::with_seed(seed) }
    }

    /// A site's key.
    #[must_use]
    pub fn site(&self, name: &str) -> u64 {
        self.hasher.hash_one(("site", name))
    }

    /// The key of an endpoint.
    #[must_use]
    pub fn endpoint(&self, site: u64, endpoint: &Endpoint) -> u64 {
        self.hasher.hash_one((site, endpoint.as_str()))
    }

    /// Who counts as one source. Whoever has one address often has its neighbours, so that is a /24 or a /48; on private
    /// networks each address is a device.
    #[must_use]
    pub fn source(&self, address: IpAddr) -> u64 {
        let bits = match address.to_canonical() {
            IpAddr::V4(v4) if v4.is_private() || v4.is_loopback() || v4.is_link_local() => u128::from(v4.to_bits()),
            IpAddr::V4(v4) => u128::from(v4.to_bits() >> 8) | 1 << 64,
            IpAddr::V6(v6) if v6.is_unique_local() || v6.is_unicast_link_local() || v6 == Ipv6Addr::LOCALHOST => {
                v6.to_bits()
            }
            IpAddr::V6(v6) => v6.to_bits() >> 80 | 1 << 65,
        };
        self.hasher.hash_one(bits)
    }

    /// Any other text, such as the probe that tells whether hashes are still the same.
    #[must_use]
    pub fn text(&self, text: &str) -> u64 {
        self.hasher.hash_one(("text", text))
    }

    /// One field.
    #[must_use]
    pub fn field(&self, site: u64, endpoint: u64, kind: FieldKind, name: &str, value: &[u8]) -> FieldSketch {
        let place = if is_site_wide(kind) { 0 } else { endpoint };
        FieldSketch {
            parameter: self.hasher.hash_one((site, place, kind as u8, name)),
            value: self.hasher.hash_one(value),
            characters: characters(value),
            length: length_step(value),
            value_type: ValueType::of(value),
        }
    }

    /// A whole request; its score is not known yet.
    #[must_use]
    pub fn request(&self, site: u64, source: u64, name: Endpoint, fields: &Fields) -> RequestSketch {
        let endpoint = self.endpoint(site, &name);
        let mut sketch = RequestSketch { site, endpoint, name, source, score: 0.0, fields: [None; FIELDS_MAX] };
        // Parameters first: a browser's dozen headers must not crowd them out.
        let own = fields.iter().filter(|field| !is_site_wide(field.kind));
        let shared = fields.iter().filter(|field| is_site_wide(field.kind));
        for (place, field) in sketch.fields.iter_mut().zip(own.chain(shared)) {
            *place = Some(self.field(site, endpoint, field.kind, field.name, field.value));
        }
        sketch
    }
}

const fn is_site_wide(kind: FieldKind) -> bool {
    matches!(kind, FieldKind::UserAgent | FieldKind::Referer | FieldKind::Header | FieldKind::Cookie)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_one_source_and_devices_at_home_are_not() {
        let sketcher = Sketcher::new(1);
        let source = |text: &str| sketcher.source(text.parse().unwrap());
        assert_eq!(source("203.0.113.1"), source("203.0.113.200"));
        assert_eq!(source("203.0.113.1"), source("::ffff:203.0.113.9"));
        assert_ne!(source("203.0.113.1"), source("203.0.114.1"));
        assert_eq!(source("2001:db8:1:2::1"), source("2001:db8:1:ffff::2"));
        assert_ne!(source("192.168.1.2"), source("192.168.1.3"));
        assert_ne!(Sketcher::new(2).source("203.0.113.1".parse().unwrap()), source("203.0.113.1"));
    }
}
