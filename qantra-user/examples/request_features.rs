//! Enters: labelled requests as JSON lines, plain or gzipped. Leaves, in the folder that is named first: the ids of every
//! distinct field and which request has which field. The first half of `cargo xtask model train`: the features are
//! computed by the daemon's own code, and only the fitting is done elsewhere.
//!
//! Files: `fields.bin` (u8 kind, u32 positions, u16 × 5 ids of its shape each), `ids.bin` (u16 × 4 each position),
//! `stretches.bin` (u8 × 5 steps of the shape of what a classifier is shown for each window, of fields with more positions
//! than it is shown), `fields.jsonl` (kind, name, start of the text), `rows.jsonl` (id, label, class, source, kind, fields, counts of the rules
//! that matched), `schema.json`. The rules are those of the Core Rule Set in the folder that is named second.

use std::{
    collections::HashMap,
    fs::File,
    io::{BufRead, BufReader, BufWriter, Write},
    net::IpAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use base64::{Engine, engine::general_purpose::STANDARD};
use flate2::read::MultiGzDecoder;
use qantra_seclang::{Connection, EngineMode, Host, NoCollections, NoLookups, Scratch};
use qantra_user::{
    config::{Config, HeadersConfig, LoginConfig, Ruleset, SiteConfig, SiteIndex, SiteInspectConfig},
    detect::AttackClass,
    features::{
        http::{
            CLASSIFIER_IDS, CLASSIFIER_POSITIONS_MAX, GRAM_BUCKETS, KIND_ID_BASE, PADDING_ID, Position, SHAPE_ID_BASE,
            SHAPES, for_each_position, http_schema, shape, shown, stretch,
        },
        request::{ALL_COLUMNS, ASKED_MAX, FIELD_COLUMNS, request_schema},
    },
    inspect::{FieldKind, Fields, RawRequest, RequestView, RuleRun, RuleSigns, RuleSite},
    model::for_each_window,
    rules::{RuleSets, SiteRules},
};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Row {
    id: String,
    label: String,
    #[serde(default)]
    class: Option<String>,
    source: String,
    #[serde(default)]
    kind: Option<String>,
    raw: String,
}

#[derive(Serialize)]
struct OutRow<'a> {
    id: &'a str,
    label: &'a str,
    class: Option<&'a str>,
    source: &'a str,
    kind: Option<&'a str>,
    fields: Vec<usize>,
    signs: Vec<u16>,
}

fn main() -> anyhow::Result<()> {
    let paths: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [dir, crs, inputs @ ..] = paths.as_slice() else { bail!("usage: request_features FOLDER CRS REQUESTS...") };
    let mut rules = Rules::load(crs)?;
    let create = |name: &str| {
        File::create(dir.join(name)).map(BufWriter::new).with_context(|| format!("{}/{name}", dir.display()))
    };
    let (mut ids_out, mut fields_out) = (create("ids.bin")?, create("fields.bin")?);
    let mut stretches_out = create("stretches.bin")?;
    let (mut names_out, mut rows_out) = (create("fields.jsonl")?, create("rows.jsonl")?);
    let mut seen: HashMap<(FieldKind, Vec<u8>), usize> = HashMap::new();
    let mut fields = Fields::new();
    for (number, line) in lines(inputs)?.enumerate() {
        let line = line?;
        let row: Row = serde_json::from_str(&line).with_context(|| format!("line {}", number + 1))?;
        let raw = STANDARD.decode(&row.raw).with_context(|| format!("line {}: raw", number + 1))?;
        let request = RawRequest::parse(&raw);
        fields.read(&request.view());
        let mut indexes = Vec::with_capacity(fields.len());
        for field in fields.iter() {
            let next = seen.len();
            let index = *seen.entry((field.kind, field.value.to_vec())).or_insert(next);
            indexes.push(index);
            if index < next {
                continue;
            }
            let mut positions = Vec::new();
            for_each_position(field.kind, field.value, |position| positions.push(position));
            let buffer: Vec<u8> =
                positions.iter().flat_map(|position| position.ids).flat_map(u16::to_le_bytes).collect();
            ids_out.write_all(&buffer)?;
            stretches_out.write_all(&stretches(field.value, &positions))?;
            fields_out.write_all(&[field.kind as u8])?;
            fields_out.write_all(&(positions.len() as u32).to_le_bytes())?;
            fields_out.write_all(&shape(field.value).iter().flat_map(|id| id.to_le_bytes()).collect::<Vec<_>>())?;
            let text = String::from_utf8_lossy(&field.value[..field.value.len().min(300)]);
            serde_json::to_writer(&mut names_out, &(field.kind.as_str(), field.name, text))?;
            names_out.write_all(b"\n")?;
        }
        let out = OutRow {
            id: &row.id,
            label: &row.label,
            class: row.class.as_deref(),
            source: &row.source,
            kind: row.kind.as_deref(),
            fields: indexes,
            signs: rules.signs(&request.view()),
        };
        serde_json::to_writer(&mut rows_out, &out)?;
        rows_out.write_all(b"\n")?;
    }
    let schema = serde_json::json!({
        "hash": http_schema().hash(),
        "buckets": GRAM_BUCKETS,
        "kind_id_base": KIND_ID_BASE,
        "padding_id": PADDING_ID,
        "shape_id_base": SHAPE_ID_BASE,
        "classifier_ids": CLASSIFIER_IDS,
        "shapes": SHAPES,
        "classifier_positions": CLASSIFIER_POSITIONS_MAX,
        "row_hash": request_schema().hash(),
        "row_columns": [FIELD_COLUMNS, ALL_COLUMNS],
        "asked": ASKED_MAX,
        "kinds": FieldKind::ALL.map(FieldKind::as_str),
        "classes": AttackClass::ALL.map(AttackClass::as_str),
    });
    serde_json::to_writer(create("schema.json")?, &schema)?;
    Ok(())
}

/// The shape of what a classifier is shown for each of a long field's windows, as steps. Most windows are shown alike.
fn stretches(value: &[u8], positions: &[Position]) -> Vec<u8> {
    let mut steps = Vec::new();
    if positions.len() <= CLASSIFIER_POSITIONS_MAX {
        return steps;
    }
    let mut known: HashMap<usize, [u8; SHAPES]> = HashMap::new();
    for_each_window(positions.len(), |window| {
        let shown = shown(window, positions.len());
        let step = |(n, id): (usize, u16)| (id - SHAPE_ID_BASE - 8 * n as u16) as u8;
        let of_stretch = || {
            let shape = shape(stretch(value, positions, &shown));
            std::array::from_fn(|n| step((n, shape[n])))
        };
        steps.extend(*known.entry(shown.start).or_insert_with(of_stretch));
    });
    steps
}

/// The lines of all inputs, one after the other.
fn lines(inputs: &[PathBuf]) -> anyhow::Result<impl Iterator<Item = std::io::Result<String>>> {
    let mut readers: Vec<Box<dyn BufRead>> = Vec::new();
    for path in inputs {
        let mut file = BufReader::new(File::open(path).with_context(|| path.display().to_string())?);
        let is_gzip = file.fill_buf()?.starts_with(&[0x1F, 0x8B]);
        readers.push(if is_gzip { Box::new(BufReader::new(MultiGzDecoder::new(file))) } else { Box::new(file) });
    }
    Ok(readers.into_iter().flat_map(BufRead::lines))
}

/// The Core Rule Set as it comes, which reports and refuses nothing.
struct Rules {
    site: SiteRules,
    scratch: Option<Box<Scratch>>,
}

impl Rules {
    fn load(crs: &Path) -> anyhow::Result<Self> {
        let mut config = Config::default();
        config.inspect.ruleset = Ruleset::Crs;
        config.inspect.crs_dir = std::path::absolute(crs)?;
        config.inspect.rules_dir = PathBuf::new();
        config.sites.push(SiteConfig {
            name: "site".into(),
            hosts: vec!["*".into()],
            targets: Vec::new(),
            health: None,
            tls: None,
            decoy: None,
            login: LoginConfig::default(),
            headers: HeadersConfig::default(),
            inspect: SiteInspectConfig::default(),
            body_bytes_max: None,
            simulation: false,
        });
        let sets = RuleSets::load(&config)?;
        let site = sets.site(SiteIndex(0)).cloned().context("no rules")?;
        Ok(Self { site, scratch: None })
    }

    /// What matches in a request: kinds of attack, places, score.
    fn signs(&mut self, request: &RequestView<'_>) -> Vec<u16> {
        let (client, server) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([127, 0, 0, 1]));
        let connection = Connection { client, client_port: 40_000, server, server_port: 80, unique_id: "" };
        let mut host = Host { now_s: 0, elapsed_ms: 0, collections: &mut NoCollections, lookups: &NoLookups };
        let site = RuleSite { rules: self.site.rules.clone(), engine: EngineMode::DetectionOnly, name: "site" };
        let mut run = RuleRun::begin(site, self.scratch.take().unwrap_or_default(), request, &connection);
        run.head(request, &mut host);
        run.body(&mut host);
        let signs = run.report().map_or_else(RuleSigns::default, |report| RuleSigns::of(&report));
        self.scratch = Some(run.end(&mut host));
        signs
            .attacks
            .iter()
            .chain(&signs.places)
            .map(|count| u16::from(*count))
            .chain([signs.score, signs.field_score, u16::from(signs.field_kinds)])
            .collect()
    }
}
