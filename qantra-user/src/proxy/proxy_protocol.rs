//! Enters: the first bytes of a connection from a trusted peer. Leaves: whom it speaks for, and how long its PROXY
//! header is (HAProxy's PROXY protocol, versions 1 and 2). It must never read past that header.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Both versions fit their fixed part into this many bytes, and no header is shorter.
pub(super) const SHORTEST_BYTES: usize = 15;
/// The longest version 1 header, by the specification.
pub(super) const V1_BYTES_MAX: usize = 107;
/// The longest version 2 header taken: addresses, and room for a load balancer's type-length-value fields.
pub(super) const V2_BYTES_MAX: usize = 16 + 2_048;

const V2_SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// What the bytes so far say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Parsed {
    /// A whole header.
    Header {
        /// Its length in bytes; what follows belongs to the client.
        length: usize,
        /// The client it names; `None` where the peer speaks for itself (`LOCAL`, `UNKNOWN`).
        client: Option<IpAddr>,
    },
    /// At least this many bytes in all are needed to say more.
    Needs(usize),
    /// These bytes are no PROXY header.
    Malformed,
}

/// Parses the beginning of a connection.
pub(super) fn parse(bytes: &[u8]) -> Parsed {
    if bytes.len() < SHORTEST_BYTES {
        return Parsed::Needs(SHORTEST_BYTES);
    }
    if bytes.starts_with(V2_SIGNATURE) {
        return parse_v2(bytes);
    }
    if bytes.starts_with(b"PROXY ") {
        return parse_v1(bytes);
    }
    Parsed::Malformed
}

fn parse_v1(bytes: &[u8]) -> Parsed {
    let window = &bytes[..bytes.len().min(V1_BYTES_MAX)];
    let Some(end) = window.iter().position(|byte| *byte == b'\n') else {
        return if bytes.len() >= V1_BYTES_MAX { Parsed::Malformed } else { Parsed::Needs(bytes.len() + 1) };
    };
    let length = end + 1;
    let line = window[..end].strip_suffix(b"\r").and_then(|line| std::str::from_utf8(line).ok());
    let Some(line) = line else { return Parsed::Malformed };
    let mut words = line.split(' ').skip(1);
    let client = match words.next() {
        Some("UNKNOWN") => return Parsed::Header { length, client: None },
        Some("TCP4") => words.next().and_then(|word| word.parse().ok()).map(IpAddr::V4),
        Some("TCP6") => words.next().and_then(|word| word.parse().ok()).map(IpAddr::V6),
        _ => None,
    };
    let has_rest = words.next().is_some() && words.next().is_some() && words.next().is_some();
    match client {
        Some(client) if has_rest => Parsed::Header { length, client: Some(client.to_canonical()) },
        _ => Parsed::Malformed,
    }
}

fn parse_v2(bytes: &[u8]) -> Parsed {
    let Some(fixed) = bytes.first_chunk::<16>() else { return Parsed::Needs(16) };
    let length = 16 + usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    let (version, command) = (fixed[12] >> 4, fixed[12] & 0x0f);
    if version != 2 || command > 1 || length > V2_BYTES_MAX {
        return Parsed::Malformed;
    }
    let Some(rest) = bytes.get(16..length) else { return Parsed::Needs(length) };
    let local = command == 0;
    let client = match fixed[13] >> 4 {
        _ if local => None,
        1 => match rest.first_chunk::<12>() {
            Some(block) => Some(IpAddr::V4(Ipv4Addr::new(block[0], block[1], block[2], block[3]))),
            None => return Parsed::Malformed,
        },
        2 => match (rest.first_chunk::<36>(), rest.first_chunk::<16>()) {
            (Some(_), Some(source)) => Some(IpAddr::V6(Ipv6Addr::from(*source))),
            _ => return Parsed::Malformed,
        },
        _ => None,
    };
    Parsed::Header { length, client: client.map(|address| address.to_canonical()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = V2_SIGNATURE.to_vec();
        bytes.push(0x20 | command);
        bytes.push(family << 4 | 1);
        bytes.extend((body.len() as u16).to_be_bytes());
        bytes.extend(body);
        bytes
    }

    #[test]
    fn version_1_names_the_client_and_leaves_what_follows() {
        let text = b"PROXY TCP4 203.0.113.9 192.0.2.1 4711 443\r\nGET / HTTP/1.1\r\n";
        let client = Some("203.0.113.9".parse().unwrap());
        assert_eq!(parse(text), Parsed::Header { length: 43, client });
        let text = b"PROXY TCP6 2001:db8::9 2001:db8::1 4711 443\r\n";
        assert_eq!(parse(text), Parsed::Header { length: text.len(), client: Some("2001:db8::9".parse().unwrap()) });
        assert_eq!(parse(b"PROXY UNKNOWN\r\n"), Parsed::Header { length: 15, client: None });
    }

    #[test]
    fn version_2_names_the_client() {
        let mut body = vec![203, 0, 113, 9, 192, 0, 2, 1];
        body.extend([0x12, 0x34, 1, 187, 0xee, 0, 1, 0]);
        let bytes = v2(1, 1, &body);
        let client = Some("203.0.113.9".parse().unwrap());
        assert_eq!(parse(&bytes), Parsed::Header { length: bytes.len(), client });
        assert_eq!(parse(&bytes[..20]), Parsed::Needs(bytes.len()));
        assert_eq!(parse(&v2(0, 0, &[])), Parsed::Header { length: 16, client: None });
    }

    #[test]
    fn anything_else_is_malformed() {
        assert_eq!(parse(b"GET / HTTP/1.1\r\n"), Parsed::Malformed);
        assert_eq!(parse(b"PROXY TCP4 203.0.113.9\r\n"), Parsed::Malformed);
        assert_eq!(parse(b"PROXY TCP4 2001:db8::9 192.0.2.1 1 2\r\n"), Parsed::Malformed);
        assert_eq!(parse(b"PROXY TCP4 203.0.113.9 192.0.2.1 4711 443\n"), Parsed::Malformed);
        assert_eq!(parse(&[b"PROXY TCP4 ".as_slice(), &[b'1'; 200]].concat()), Parsed::Malformed);
        assert_eq!(parse(&v2(1, 1, &[1, 2, 3])), Parsed::Malformed);
        assert_eq!(parse(&v2(2, 1, &[0; 12])), Parsed::Malformed);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(tail in proptest::collection::vec(proptest::num::u8::ANY, 0..120), kind in 0..3) {
            let mut bytes = match kind { 0 => V2_SIGNATURE.to_vec(), 1 => b"PROXY TCP4 ".to_vec(), _ => Vec::new() };
            bytes.extend(tail);
            if let Parsed::Header { length, .. } = parse(&bytes) {
                proptest::prop_assert!(length <= bytes.len());
            }
        }
    }
}
