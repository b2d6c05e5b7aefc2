//! What a feed is, as a person defines it.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::list::Format;

/// Longest name, in bytes.
const NAME_BYTES_MAX: usize = 40;
/// Longest source, in bytes.
const SOURCE_BYTES_MAX: usize = 2_048;
/// From a minute to a month.
const REFRESH_S: std::ops::RangeInclusive<u64> = 60..=31 * 86_400;

/// Which end of a packet a feed's addresses are compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum FeedDirection {
    /// Sources of what comes in
    #[default]
    In,
    /// Destinations of what devices of the LAN send
    Out,
    /// Both
    Both,
}

impl FeedDirection {
    /// Whether sources are compared.
    #[must_use]
    pub const fn is_inbound(self) -> bool {
        matches!(self, Self::In | Self::Both)
    }

    /// Whether destinations are compared.
    #[must_use]
    pub const fn is_outbound(self) -> bool {
        matches!(self, Self::Out | Self::Both)
    }

    /// As written on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
            Self::Both => "both",
        }
    }
}

/// One feed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeedSpec {
    /// Its name: a label of metrics and a folder's name.
    pub name: String,
    /// Where its list is: an `https://` or `http://` URL, or an absolute path.
    pub source: String,
    /// How the list is written.
    #[serde(default)]
    pub format: Format,
    /// How often it is fetched.
    pub refresh_s: u64,
    /// How sure it is, from 0 to 100: where memory is short, the least sure entries are left out.
    pub confidence: u8,
    /// Which end of a packet is compared.
    #[serde(default)]
    pub direction: FeedDirection,
    /// Whether private and reserved addresses are taken.
    #[serde(default)]
    pub allow_private: bool,
}

/// Where a list comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FeedSource {
    /// A web server.
    Url {
        /// The whole URL.
        url: String,
        /// Whether it is asked over TLS; then no redirect may leave TLS.
        tls: bool,
    },
    /// A file that the daemon reads.
    File(PathBuf),
}

/// A definition makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadFeed {
    /// The name.
    #[error(
        "`{0}` cannot be a feed's name: use 1 to {NAME_BYTES_MAX} lower-case letters, digits, `_`, `-` and `.`, a letter or digit first"
    )]
    Name(String),
    /// The source.
    #[error("`{0}` is no source: write an https:// or http:// URL or an absolute path")]
    Source(String),
    /// The interval.
    #[error("a list cannot be fetched every {0} s: write an interval from 1m to 31d")]
    Refresh(u64),
    /// The confidence.
    #[error("a confidence of {0} is none: write a number from 0 to 100")]
    Confidence(u8),
}

impl FeedSpec {
    /// Checks what a person wrote.
    ///
    /// # Errors
    /// The first thing that makes no sense.
    pub fn check(&self) -> Result<FeedSource, BadFeed> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let name = self.name.as_bytes();
        let is_name = name.first().is_some_and(|first| plain(*first))
            && name.len() <= NAME_BYTES_MAX
            && name.iter().all(|byte| plain(*byte) || b"_-.".contains(byte));
        if !is_name {
            return Err(BadFeed::Name(cut(&self.name)));
        }
        if !REFRESH_S.contains(&self.refresh_s) {
            return Err(BadFeed::Refresh(self.refresh_s));
        }
        if self.confidence > 100 {
            return Err(BadFeed::Confidence(self.confidence));
        }
        self.source_of().ok_or_else(|| BadFeed::Source(cut(&self.source)))
    }

    fn source_of(&self) -> Option<FeedSource> {
        let text = self.source.as_str();
        if text.len() > SOURCE_BYTES_MAX || text.chars().any(char::is_control) {
            return None;
        }
        if let Some(path) = text.strip_prefix("file://") {
            return Path::new(path).is_absolute().then(|| FeedSource::File(path.into()));
        }
        if text.starts_with('/') {
            return Some(FeedSource::File(text.into()));
        }
        let url: http::Uri = text.parse().ok()?;
        let tls = match url.scheme_str()? {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        url.host().filter(|host| !host.is_empty())?;
        Some(FeedSource::Url { url: text.to_owned(), tls })
    }
}

fn cut(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(name: &str, source: &str) -> FeedSpec {
        FeedSpec {
            name: name.into(),
            source: source.into(),
            format: Format::Auto,
            refresh_s: 3_600,
            confidence: 80,
            direction: FeedDirection::In,
            allow_private: false,
        }
    }

    #[test]
    fn sources_are_told_apart() {
        let source = |text: &str| spec("drop", text).check();
        let url = |url: &str, tls| Ok(FeedSource::Url { url: url.into(), tls });
        assert_eq!(source("https://example.org/x?y"), url("https://example.org/x?y", true));
        assert_eq!(source("http://127.0.0.1:8000/x"), url("http://127.0.0.1:8000/x", false));
        assert_eq!(source("/etc/qantra/x.txt"), Ok(FeedSource::File("/etc/qantra/x.txt".into())));
        assert_eq!(source("file:///etc/x"), Ok(FeedSource::File("/etc/x".into())));
        for bad in
            ["", "x.txt", "ftp://example.org/", "https://", "file://x", "example.org", "https://a/\n", "/a\u{1b}"]
        {
            assert!(matches!(source(bad), Err(BadFeed::Source(_))), "{bad:?}");
        }
    }

    #[test]
    fn names_are_names_of_folders() {
        for name in ["drop", "firehol_level1", "a.b-c", "0"] {
            assert!(spec(name, "/x").check().is_ok(), "{name}");
        }
        for name in ["", ".", "..", "a/b", "A", "ä", "-x", "a b", &"x".repeat(41)] {
            assert!(matches!(spec(name, "/x").check(), Err(BadFeed::Name(_))), "{name}");
        }
        assert_eq!(FeedSpec { refresh_s: 59, ..spec("a", "/x") }.check(), Err(BadFeed::Refresh(59)));
        assert_eq!(FeedSpec { confidence: 101, ..spec("a", "/x") }.check(), Err(BadFeed::Confidence(101)));
    }
}
