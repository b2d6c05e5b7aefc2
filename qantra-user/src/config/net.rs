//! Addresses and prefixes as people write them: `203.0.113.7`, `203.0.113.0/24`, `2001:db8::/32`.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer};

/// The text is no address and no prefix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is neither an address nor a prefix")]
pub struct BadNet(String);

/// Reads an address or a prefix. Host bits are cleared, and an IPv4 address in IPv6 clothes
/// (`::ffff:203.0.113.7`) becomes the IPv4 address it stands for, so that one source has one name.
///
/// # Errors
/// The text is neither.
pub fn parse_net(text: &str) -> Result<IpNet, BadNet> {
    let text = text.trim();
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(address.to_canonical()));
    }
    let net: IpNet = text.parse().map_err(|_| BadNet(text.chars().take(60).collect()))?;
    Ok(canonical_net(net))
}

/// Clears host bits and takes IPv4 out of IPv6 clothes.
#[must_use]
pub fn canonical_net(net: IpNet) -> IpNet {
    if let (IpNet::V6(v6), IpAddr::V4(v4)) = (net, net.addr().to_canonical())
        && let Some(prefix_len) = v6.prefix_len().checked_sub(96)
        && let Ok(mapped) = IpNet::new(IpAddr::V4(v4), prefix_len)
    {
        return mapped.trunc();
    }
    net.trunc()
}

/// For `#[serde(deserialize_with)]`: a list of addresses and prefixes.
pub(super) fn nets<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    texts.iter().map(|text| parse_net(text).map_err(serde::de::Error::custom)).collect()
}
