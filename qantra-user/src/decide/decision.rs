//! The Decision noun: scope, action, duration, origin, reasons, id.

use std::{fmt, net::IpAddr, str::FromStr};

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::detect::{AttackClass, Finding};

/// A decision's id: 64 random bits, written as 13 characters of Crockford's base 32 in lower case.
///
/// The same id stands on the block page, in the kernel's ban entry, in the store and in `qantra explain`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DecisionId(pub u64);

const CROCKFORD: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

impl fmt::Display for DecisionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0_u8; 13];
        for (i, byte) in text.iter_mut().enumerate() {
            *byte = CROCKFORD[(self.0 >> (60 - 5 * i) & 31) as usize];
        }
        f.pad(std::str::from_utf8(&text).unwrap_or_default())
    }
}

/// The text is not a decision id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a decision id: 13 letters and digits, as `qantra decisions list` prints them")]
pub struct BadDecisionId(String);

impl FromStr for DecisionId {
    type Err = BadDecisionId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || BadDecisionId(text.chars().take(40).collect());
        if text.len() != 13 {
            return Err(bad());
        }
        let mut value: u128 = 0;
        for byte in text.bytes() {
            let digit = CROCKFORD.iter().position(|c| *c == byte.to_ascii_lowercase()).ok_or_else(bad)?;
            value = value << 5 | digit as u128;
        }
        u64::try_from(value).map(Self).map_err(|_| bad())
    }
}

impl Serialize for DecisionId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for DecisionId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for DecisionId {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "DecisionId".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^[0-9a-hjkmnp-tv-z]{13}$" })
    }
}

/// Whom a decision covers: one address or a range of them, as a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Scope(pub IpNet);

impl Scope {
    /// The scope of one address.
    #[must_use]
    pub fn ip(address: IpAddr) -> Self {
        Self(IpNet::from(address))
    }

    /// The address, when the scope is exactly one.
    #[must_use]
    pub fn single(&self) -> Option<IpAddr> {
        (self.0.prefix_len() == self.0.max_prefix_len()).then(|| self.0.addr())
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.single() {
            Some(address) => f.pad(&address.to_string()),
            None => f.pad(&self.0.to_string()),
        }
    }
}

/// What is done.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema, clap::ValueEnum,
)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Nothing but to write it down.
    Observe,
    /// Slow the source down: requests wait or get 429.
    Throttle,
    /// Requests go to the site's decoy.
    Forward,
    /// Packets are dropped in the kernel, requests get 403.
    Block,
}

impl Action {
    /// Every action, in order: the place of each is its number.
    pub const ALL: [Self; 4] = [Self::Observe, Self::Throttle, Self::Forward, Self::Block];

    /// As written in config, metrics and output.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Throttle => "throttle",
            Self::Forward => "forward",
            Self::Block => "block",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Which end of a packet the scope is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Packets from the scope, on any interface.
    #[default]
    Source,
    /// Packets from the LAN to the scope.
    Destination,
    /// Either.
    Both,
}

/// Where a decision came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// Policy, from findings.
    Detector,
    /// A person, by the command line.
    Cli,
}

impl Origin {
    /// As written in metrics and output.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Detector => "detector",
            Self::Cli => "cli",
        }
    }
}

/// What is in force for a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// What is done.
    pub action: Action,
    /// The decision; `None`: a feed lists the client.
    pub decision: Option<DecisionId>,
}

/// What policy made of findings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// Its id.
    pub id: DecisionId,
    /// Whom it covers.
    pub scope: Scope,
    /// Which end of a packet the scope is compared with.
    pub direction: Direction,
    /// What is done.
    pub action: Action,
    /// The class of the findings; `None` for a person's decision.
    pub class: Option<AttackClass>,
    /// Where it came from.
    pub origin: Origin,
    /// One line for people.
    pub reason: String,
    /// When it was made: Unix ms.
    pub created_unix_ms: u64,
    /// When it ends: Unix ms; `None` is never.
    pub expires_unix_ms: Option<u64>,
    /// Whether it was made in simulation: decided, logged and counted, not enforced.
    pub simulated: bool,
    /// How often the source had a decision before, within the policy's memory.
    pub previous_offences: u32,
    /// The findings, the one that decided first; at most [`Decision::FINDINGS_MAX`].
    pub findings: Vec<Finding>,
}

impl Decision {
    /// How many findings a decision keeps.
    pub const FINDINGS_MAX: usize = 8;

    /// Whether it has ended.
    #[must_use]
    pub fn is_expired(&self, now_unix_ms: u64) -> bool {
        self.expires_unix_ms.is_some_and(|end| end <= now_unix_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_an_action_is_its_number() {
        for (place, action) in Action::ALL.into_iter().enumerate() {
            assert_eq!(action as usize, place);
        }
    }
}
