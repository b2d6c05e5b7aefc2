//! Enters: behaviour vectors of sources. Leaves: claims about the few that the isolation forest flags and the
//! classifier is sure of, with the features that weighed most. It must never run where requests wait.

use std::net::IpAddr;

use super::{Bar, Manifest, ManifestEntry, MatrixSession, ModelError, ModelRole, Runtime};
use crate::features::source::{COLUMNS, SOURCE_COLUMNS, SourceVector, schema};

/// How many features a claim names.
const WEIGHTS_MAX: usize = 5;
/// What the classifier calls honest sources.
const BENIGN: &str = "benign";

/// What the models say of one source.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceClaim {
    /// The source.
    pub address: IpAddr,
    /// The class, as attack classes are written.
    pub class: String,
    /// The classifier's confidence, 0 to 1.
    pub confidence: f32,
    /// The isolation forest's score: 0.5 is average, 1 is utterly strange.
    pub anomaly: f32,
    /// The score from which the forest flags.
    pub anomaly_threshold: Bar,
    /// The confidence from which the classifier has a say.
    pub confidence_threshold: Bar,
    /// Features by how much of the confidence is lost without them, heaviest first.
    pub weights: Vec<(&'static str, f32)>,
    /// Name of the classifier.
    pub model: String,
    /// Its version.
    pub version: String,
}

/// What came of a batch.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SourceScores {
    /// How many sources the forest flagged.
    pub flagged: usize,
    /// What the classifier is sure of among them.
    pub claims: Vec<SourceClaim>,
}

/// The isolation forest and the classifier behind it.
#[derive(Debug)]
pub struct SourceModels {
    forest: MatrixSession,
    classifier: MatrixSession,
    model: String,
    version: String,
    classes: Vec<String>,
    flag: Bar,
    confidence: Bar,
}

impl SourceModels {
    /// Loads both models. `confidence` replaces the manifest's threshold of the classifier.
    ///
    /// # Errors
    /// Any [`ModelError`]: an entry is missing, damaged, of another schema, or not what its role demands.
    pub fn load(runtime: &Runtime, manifest: &Manifest, confidence: Option<f32>) -> Result<Self, ModelError> {
        let (forest_entry, forest) = session(runtime, manifest, ModelRole::SourceForest)?;
        let (entry, classifier) = session(runtime, manifest, ModelRole::SourceClassifier)?;
        if entry.classes.len() < 2 || entry.classes.first().map(String::as_str) != Some(BENIGN) {
            let reason = format!("classes are {:?}, expected `{BENIGN}` and at least one attack", entry.classes);
            return Err(ModelError::Shape { model: entry.name.clone(), reason });
        }
        let mut models = Self {
            forest,
            classifier,
            model: entry.name.clone(),
            version: entry.version.clone(),
            classes: entry.classes.clone(),
            flag: Bar::of_model(forest_entry, "flag")?,
            confidence: match confidence {
                Some(confidence) => Bar::of_config("models.source_confidence", confidence),
                None => Bar::of_model(entry, "confidence")?,
            },
        };
        // A run on nothing shows at once whether the outputs are as wide as the manifest says.
        let silence = [0.0; SOURCE_COLUMNS];
        models.anomalies(&silence)?;
        models.probabilities(&silence)?;
        Ok(models)
    }

    /// The name that its claims carry.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.model
    }

    /// What the isolation forest alone says of each source: 0.5 is average, 1 is utterly strange.
    ///
    /// # Errors
    /// As [`SourceModels::score_batch`].
    pub fn anomaly_scores(&mut self, vectors: &[SourceVector]) -> Result<Vec<f32>, ModelError> {
        let rows: Vec<f32> = vectors.iter().flat_map(|vector| vector.values).collect();
        self.anomalies(&rows)
    }

    /// What the classifier alone says of each source: one row of as many numbers as there are classes.
    pub(super) fn class_probabilities(&mut self, vectors: &[SourceVector]) -> Result<Vec<f32>, ModelError> {
        let rows: Vec<f32> = vectors.iter().flat_map(|vector| vector.values).collect();
        self.probabilities(&rows)
    }

    /// How many classes it tells apart.
    pub(super) const fn class_count(&self) -> usize {
        self.classes.len()
    }

    /// Scores a batch. Costs some µs for each source, and a run of the classifier more for each claim.
    ///
    /// # Errors
    /// [`ModelError::Onnx`] or [`ModelError::Shape`] when a model does not run.
    pub fn score_batch(&mut self, vectors: &[SourceVector]) -> Result<SourceScores, ModelError> {
        let anomalies = self.anomaly_scores(vectors)?;
        let flagged: Vec<(&SourceVector, f32)> =
            vectors.iter().zip(anomalies).filter(|(_, anomaly)| *anomaly >= self.flag.value).collect();
        let rows: Vec<f32> = flagged.iter().flat_map(|(vector, _)| vector.values).collect();
        let probabilities = self.probabilities(&rows)?;
        let mut claims = Vec::new();
        for ((vector, anomaly), row) in flagged.iter().zip(probabilities.chunks_exact(self.classes.len())) {
            let likeliest = row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
            let Some((class, confidence)) = likeliest.filter(|(class, _)| *class > 0) else { continue };
            if *confidence < self.confidence.value {
                continue;
            }
            claims.push(SourceClaim {
                address: vector.address,
                class: self.classes[class].clone(),
                confidence: *confidence,
                anomaly: *anomaly,
                anomaly_threshold: self.flag.clone(),
                confidence_threshold: self.confidence.clone(),
                weights: self.weights(vector, class, *confidence)?,
                model: self.model.clone(),
                version: self.version.clone(),
            });
        }
        Ok(SourceScores { flagged: flagged.len(), claims })
    }

    /// What the class's probability loses when a feature is as if nothing had happened, for each feature in turn.
    fn weights(
        &mut self,
        vector: &SourceVector,
        class: usize,
        confidence: f32,
    ) -> Result<Vec<(&'static str, f32)>, ModelError> {
        let present: Vec<usize> = (0..SOURCE_COLUMNS).filter(|column| vector.values[*column] != 0.0).collect();
        let mut rows = Vec::with_capacity(present.len() * SOURCE_COLUMNS);
        for column in &present {
            let mut without = vector.values;
            without[*column] = 0.0;
            rows.extend_from_slice(&without);
        }
        let probabilities = self.probabilities(&rows)?;
        let without = probabilities.chunks_exact(self.classes.len()).map(|row| row[class]);
        let mut weights: Vec<(&'static str, f32)> =
            present.iter().zip(without).map(|(column, left)| (COLUMNS[*column], confidence - left)).collect();
        weights.sort_by(|a, b| b.1.total_cmp(&a.1));
        weights.truncate(WEIGHTS_MAX);
        Ok(weights)
    }

    /// The forest's scores. Its model gives the exponent of `2^-(path length / average path length)` (Liu, Ting and
    /// Zhou, 2008): a sum over one tree node is cheap, a power would be a node more.
    fn anomalies(&mut self, rows: &[f32]) -> Result<Vec<f32>, ModelError> {
        let exponents = self.forest.run(rows)?.swap_remove(0);
        if exponents.len() * SOURCE_COLUMNS != rows.len() {
            let reason = format!("{} scores for {} rows", exponents.len(), rows.len() / SOURCE_COLUMNS);
            return Err(ModelError::Shape { model: ModelRole::SourceForest.as_str().into(), reason });
        }
        Ok(exponents.into_iter().map(f32::exp2).collect())
    }

    fn probabilities(&mut self, rows: &[f32]) -> Result<Vec<f32>, ModelError> {
        let probabilities = self.classifier.run(rows)?.swap_remove(0);
        let (count, classes) = (rows.len() / SOURCE_COLUMNS, self.classes.len());
        if probabilities.len() != count * classes {
            let reason = format!("{} numbers for {count} rows of {classes} classes", probabilities.len());
            return Err(ModelError::Shape { model: self.model.clone(), reason });
        }
        Ok(probabilities)
    }
}

fn session<'a>(
    runtime: &Runtime,
    manifest: &'a Manifest,
    role: ModelRole,
) -> Result<(&'a ManifestEntry, MatrixSession), ModelError> {
    let entry = manifest.entry(role)?;
    let bytes = manifest.file(entry, &schema().hash())?;
    Ok((entry, MatrixSession::new(runtime, &entry.name, &bytes, SOURCE_COLUMNS)?))
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::{
        config::Role,
        features::source::vector,
        flow::{FlowTable, LocalNetworks, Observation, PacketObservation, RequestObservation},
    };

    type TestResult = Result<(), Box<dyn std::error::Error>>;

    const AT_MS: u64 = 1_000_000;

    /// The shipped models, or `None` with a word about it where ONNX Runtime is missing.
    fn shipped() -> Result<Option<SourceModels>, ModelError> {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from);
        let library = target.join("onnxruntime").join(std::env::consts::ARCH).join("libonnxruntime.so");
        if !library.is_file() {
            eprintln!("skipped: no ONNX Runtime at {}; `cargo xtask setup` fetches it", library.display());
            return Ok(None);
        }
        let (runtime, manifest) = (Runtime::load(&library)?, Manifest::read(&workspace.join("models"))?);
        SourceModels::load(&runtime, &manifest, None).map(Some)
    }

    fn packets(source: IpAddr, packets: u64, tcp_syn: u64, bytes: u64, port_map: [u64; 4]) -> Observation {
        Observation::Packets(PacketObservation {
            at_ms: AT_MS,
            window_ms: 1_000,
            source,
            role: Role::Wan,
            packets,
            bytes,
            tcp_syn,
            tcp_rst: 0,
            udp: 0,
            icmp: 0,
            distinct_ports: 1,
            port_map,
            host_map: [1, 0, 0, 0],
        })
    }

    fn page(source: IpAddr, path_hash: u64) -> Observation {
        Observation::Request(RequestObservation {
            at_ms: AT_MS,
            source,
            site: None,
            is_write: false,
            answered_by_us: false,
            status: 200,
            path_hash: path_hash.wrapping_mul(0x9e37_79b9_7f4a_7c15),
            account_hash: None,
            is_login: false,
            request_bytes: 420,
            response_bytes: 6_000,
            duration_ms: 3,
        })
    }

    fn vectors(observations: &[Observation]) -> Vec<SourceVector> {
        let mut table = FlowTable::<()>::new(16, LocalNetworks::default(), 1);
        for observation in observations {
            let (tracked, _) = table.source_of(observation, AT_MS);
            match observation {
                Observation::Request(seen) => {
                    tracked.flow.http.get_or_insert_default().request(AT_MS, seen);
                }
                Observation::Connection(_) => tracked.flow.http.get_or_insert_default().connection(AT_MS),
                Observation::Packets(seen) => tracked.flow.packets.get_or_insert_default().packets(AT_MS, seen),
                Observation::Conversation(_) => {}
            }
        }
        table.iter().map(|tracked| vector(&tracked.flow, AT_MS)).collect()
    }

    #[test]
    fn a_scan_is_claimed_with_its_reasons_and_a_reader_is_not() -> TestResult {
        let Some(mut models) = shipped()? else { return Ok(()) };
        let (scanner, reader) = (IpAddr::from([198, 51, 100, 7]), IpAddr::from([198, 51, 100, 8]));
        let mut seen = vec![packets(scanner, 900, 900, 54_000, [u64::MAX; 4])];
        seen.push(packets(reader, 90, 2, 14_000, [1, 0, 0, 0]));
        seen.extend((0..30).map(|path| page(reader, path)));
        let scores = models.score_batch(&vectors(&seen))?;
        let [claim] = scores.claims.as_slice() else { unreachable!("{scores:#?}") };
        assert_eq!((claim.address, claim.class.as_str()), (scanner, "port_scan"));
        assert!(claim.confidence >= 0.9 && claim.anomaly >= claim.anomaly_threshold.value, "{claim:#?}");
        let names: Vec<&str> = claim.weights.iter().map(|(name, _)| *name).collect();
        assert!(names.iter().any(|name| name.contains("ports") || name.contains("syn")), "{names:?}");
        Ok(())
    }

    #[test]
    fn a_batch_scores_as_its_rows_do_alone() -> TestResult {
        let Some(mut models) = shipped()? else { return Ok(()) };
        let source = |n: u8| IpAddr::from([203, 0, 113, n]);
        let seen: Vec<_> =
            (0..9).map(|n| packets(source(n), 40 << n, 30 << n, 4_000 << n, [u64::from(n); 4])).collect();
        let vectors = vectors(&seen);
        let together = models.score_batch(&vectors)?;
        let mut alone = SourceScores::default();
        for vector in &vectors {
            let scores = models.score_batch(std::slice::from_ref(vector))?;
            alone.flagged += scores.flagged;
            alone.claims.extend(scores.claims);
        }
        assert_eq!(together, alone);
        assert_eq!(models.score_batch(&[])?, SourceScores::default());
        Ok(())
    }
}
