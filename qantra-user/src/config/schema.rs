//! The configuration's JSON schema, for editors and for `qantra config schema`.

use super::Config;

/// The JSON schema of `qantra.toml`.
#[must_use]
pub fn json_schema() -> serde_json::Value {
    let mut schema = schemars::schema_for!(Config).to_value();
    if let Some(object) = schema.as_object_mut() {
        object.insert("title".into(), "qantra.toml".into());
    }
    schema
}
