//! Enters: the names and parameters of a feature vector. Leaves: their hash, which a model carries in the manifest.
//! It must never depend on the platform: the same features have the same hash everywhere.

use sha2::{Digest, Sha256};

/// What a feature vector is: a name, its columns in order, and whatever else decides on their values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schema {
    /// The vector's name, such as `source-behaviour`.
    pub name: &'static str,
    /// The columns, in order. Empty for hashed features.
    pub columns: &'static [&'static str],
    /// Parameters and probe values, as `key=value`.
    pub parameters: Vec<String>,
}

impl Schema {
    /// The first 16 hexadecimal digits of the SHA-256 of name, columns and parameters, each ended by a line feed.
    #[must_use]
    pub fn hash(&self) -> String {
        let mut digest = Sha256::new();
        for line in std::iter::once(self.name).chain(self.columns.iter().copied()) {
            digest.update(line.as_bytes());
            digest.update(b"\n");
        }
        for line in &self.parameters {
            digest.update(line.as_bytes());
            digest.update(b"\n");
        }
        digest.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Schema;

    #[test]
    fn order_and_parameters_change_the_hash() {
        let hash = |columns, parameter: &str| Schema { name: "s", columns, parameters: vec![parameter.into()] }.hash();
        let first = hash(&["a", "b"], "x=1");
        assert_eq!(first.len(), 16);
        assert_eq!(first, hash(&["a", "b"], "x=1"));
        assert_ne!(first, hash(&["b", "a"], "x=1"));
        assert_ne!(first, hash(&["a", "b"], "x=2"));
    }
}
