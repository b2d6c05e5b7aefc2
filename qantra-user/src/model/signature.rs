//! Enters: a bundle and the keys that the configuration trusts. Leaves: who signed it, or why it may not be used. It must
//! never take a signature of anything but the manifest, which holds the hash of every file.

use minisign_verify::{PublicKey, Signature};

use super::{Bundle, ModelError, bundle::SIGNATURE};

/// Which signatures count.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trust {
    /// minisign's public keys, in base64.
    pub keys: Vec<String>,
    /// Whether models without a trusted signature are refused.
    pub is_required: bool,
}

/// What is known of a bundle's origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signed {
    /// One of the trusted keys signed its manifest.
    Trusted,
    /// There is no signature.
    Unsigned,
    /// There is one, and no key to check it with.
    Unchecked,
}

impl Signed {
    /// As it is printed.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Trusted => "trusted",
            Self::Unsigned => "unsigned",
            Self::Unchecked => "unchecked",
        }
    }
}

/// Checks a bundle's signature. A bad signature is refused even where none is required: somebody changed something.
///
/// # Errors
/// [`ModelError::Signature`].
pub fn verify(bundle: &Bundle, trust: &Trust) -> Result<Signed, ModelError> {
    let refused = |reason: &str| Err(ModelError::Signature { reason: reason.to_owned() });
    let Some(bytes) = &bundle.signature else {
        if trust.is_required {
            return refused("there is none; sign with `minisign -Sm manifest.toml`, or name one by --signature");
        }
        return Ok(Signed::Unsigned);
    };
    let parsed = std::str::from_utf8(bytes).ok().and_then(|text| Signature::decode(text).ok());
    let Some(signature) = parsed else {
        return refused("it is no minisign signature");
    };
    if trust.keys.is_empty() {
        return if trust.is_required { refused("`models.trusted_keys` is empty") } else { Ok(Signed::Unchecked) };
    }
    let fits = |key: &String| {
        PublicKey::from_base64(key.trim()).is_ok_and(|key| key.verify(&bundle.manifest, &signature, false).is_ok())
    };
    if trust.keys.iter().any(fits) {
        return Ok(Signed::Trusted);
    }
    refused(&format!("{SIGNATURE} is not by a key of `models.trusted_keys`, or the manifest was changed after it"))
}

/// Whether a text is a minisign public key.
#[must_use]
pub fn is_public_key(text: &str) -> bool {
    PublicKey::from_base64(text.trim()).is_ok()
}
