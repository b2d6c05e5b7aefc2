//! Enters: rows of [`features::request`](crate::features::request). Leaves: how sure the judge is that each request is an
//! attack. Two ensembles of trees: one weighs the fields alone, one the rules that matched as well; both give shares on
//! one scale, so one threshold holds for both. It must never see a request itself.

use super::{Bar, Manifest, ModelError, ModelRole, Runtime, session::MatrixSession};
use crate::features::request::{ALL_COLUMNS, FIELD_COLUMNS, request_schema};

/// Both ensembles.
#[derive(Debug)]
pub(super) struct Ensembles {
    fields: MatrixSession,
    rules: MatrixSession,
    /// Of the one that weighs fields alone.
    pub(super) name: String,
    pub(super) version: String,
    pub(super) threshold: Bar,
}

impl Ensembles {
    /// Loads both from an open manifest.
    ///
    /// # Errors
    /// [`ModelError`].
    pub(super) fn load(runtime: &Runtime, manifest: &Manifest) -> Result<Self, ModelError> {
        let schema = request_schema().hash();
        let session = |role, columns| {
            let entry = manifest.entry(role)?;
            let session = MatrixSession::new(runtime, &entry.name, &manifest.file(entry, &schema)?, columns)?;
            Ok::<_, ModelError>((entry, session))
        };
        let (entry, fields) = session(ModelRole::RequestJudge, FIELD_COLUMNS)?;
        let (_, rules) = session(ModelRole::RequestJudgeRules, ALL_COLUMNS)?;
        let threshold = Bar::of_model(entry, "confidence")?;
        Ok(Self { fields, rules, name: entry.name.clone(), version: entry.version.clone(), threshold })
    }

    /// A share for each row.
    ///
    /// # Errors
    /// [`ModelError`] when ONNX Runtime fails or the answer has another shape.
    pub(super) fn confidences(&mut self, rows: &[f32], with_rules: bool) -> Result<Vec<f32>, ModelError> {
        let (session, columns) =
            if with_rules { (&mut self.rules, ALL_COLUMNS) } else { (&mut self.fields, FIELD_COLUMNS) };
        let confidences = session.run(rows)?.swap_remove(0);
        if confidences.len() == rows.len() / columns {
            return Ok(confidences);
        }
        let reason = format!("{} numbers for {} rows", confidences.len(), rows.len() / columns);
        Err(ModelError::Shape { model: self.name.clone(), reason })
    }
}
