//! Enters: what gate and classifier said of a request's fields, and what its site's rules matched. Leaves: one row of
//! numbers for the judge, the model with the last word about a request. It must never hold how many fields a request has,
//! nor anything else that tells a bare payload of a list from a request of a browser.

use crate::{
    features::{
        Schema,
        http::{SHAPE_ID_BASE, SHAPES, http_schema},
    },
    inspect::{ATTACK_TAGS, FieldKind, RuleSigns, SIGN_PLACES},
};

/// Classes of the classifier, `benign` first.
pub const FIELD_CLASSES: usize = 14;
/// Most fields of a request that the classifier is asked about: the worst ones.
pub const ASKED_MAX: usize = 4;
/// Scores below their threshold by more than this count as so much.
const EXCESS_MIN: f32 = -6.0;
/// Log-odds are cut here.
const ODDS_MAX: f32 = 11.5;

const KINDS: usize = FieldKind::ALL.len();
/// Columns from the fields alone.
pub const FIELD_COLUMNS: usize = KINDS + 4 + FIELD_CLASSES + 4 + 4;
/// Columns with those of the rules.
pub const ALL_COLUMNS: usize = FIELD_COLUMNS + ATTACK_TAGS.len() + SIGN_PLACES.len() + 3;

/// A field that the classifier was asked about.
#[derive(Debug, Clone, Copy)]
pub struct AskedField<'a> {
    /// The gate's score above its kind's threshold.
    pub excess: f32,
    /// Of each class, `benign` first.
    pub probabilities: &'a [f32; FIELD_CLASSES],
    /// [`shape`](super::http::shape) of what the classifier was shown of its value.
    pub shape: [u16; SHAPES],
    /// By how much its log-odds are lowered, because the site knows such values.
    pub lowered_by: f32,
}

impl AskedField<'_> {
    /// Log-odds that the field is an attack.
    #[must_use]
    pub fn odds(&self) -> f32 {
        let benign = self.probabilities[0].clamp(1e-6, 1.0 - 1e-6);
        (((1.0 - benign) / benign).ln() - self.lowered_by).clamp(-ODDS_MAX, ODDS_MAX)
    }
}

/// Writes a request's row: [`FIELD_COLUMNS`] numbers, or [`ALL_COLUMNS`] with the rules' counts. `kinds` is the worst score
/// of each kind of field above its threshold, `NEG_INFINITY` where there is none. Gives the place of the field that is
/// most likely an attack among those asked about.
pub fn request_row(
    row: &mut Vec<f32>,
    kinds: &[f32; KINDS],
    asked: &[AskedField<'_>],
    signs: Option<&RuleSigns>,
) -> Option<usize> {
    let surest = (0..asked.len()).max_by(|a, b| asked[*a].odds().total_cmp(&asked[*b].odds()));
    row.extend(kinds.iter().map(|excess| excess.max(EXCESS_MIN)));
    let mut odds = [-ODDS_MAX; 2];
    let mut excess = [EXCESS_MIN; 2];
    for field in asked {
        insert(&mut odds, field.odds());
        insert(&mut excess, field.excess);
    }
    row.extend(odds);
    row.extend(excess);
    match surest.map(|at| &asked[at]) {
        Some(field) => {
            row.extend(field.probabilities);
            row.extend((0..4).map(|n| f32::from(step(field.shape, n))));
            let injection = step(field.shape, 4);
            row.extend([f32::from(injection & 1), f32::from(injection >> 1)]);
        }
        None => row.extend([0.0; FIELD_CLASSES + 6]),
    }
    let any = |bit: u16| asked.iter().filter(|field| step(field.shape, 4) >> bit & 1 == 1).count() as f32;
    row.extend([any(0), any(1)]);
    if let Some(signs) = signs {
        row.extend(signs.attacks.iter().map(|count| f32::from(*count)));
        row.extend(signs.places.iter().map(|count| f32::from(*count)));
        row.extend([f32::from(signs.score), f32::from(signs.field_score), f32::from(signs.field_kinds)]);
    }
    surest
}

/// The step that an id of a field's shape stands for.
const fn step(shape: [u16; SHAPES], n: usize) -> u16 {
    shape[n].wrapping_sub(SHAPE_ID_BASE + 8 * n as u16)
}

/// Keeps the two largest, largest first.
fn insert(largest: &mut [f32; 2], one: f32) {
    if one > largest[0] {
        *largest = [one, largest[0]];
    } else if one > largest[1] {
        largest[1] = one;
    }
}

/// The schema of these columns, on top of that of the fields' n-grams. Its parameters hold a row of made-up fields, so that
/// no change of the code goes unseen.
#[must_use]
pub fn request_schema() -> Schema {
    let mut probabilities = [0.01; FIELD_CLASSES];
    probabilities[0] = 0.3;
    let shape = std::array::from_fn(|n| SHAPE_ID_BASE + 8 * n as u16 + 1);
    let asked = [
        AskedField { excess: 1.5, probabilities: &probabilities, shape, lowered_by: 0.0 },
        AskedField { excess: 2.5, probabilities: &probabilities, shape, lowered_by: 2.0 },
    ];
    let kinds = std::array::from_fn(|n| n as f32 - 8.0);
    let signs = RuleSigns {
        attacks: [1; ATTACK_TAGS.len()],
        places: [2; SIGN_PLACES.len()],
        score: 7,
        field_score: 5,
        field_kinds: 2,
    };
    let mut row = Vec::with_capacity(ALL_COLUMNS);
    request_row(&mut row, &kinds, &asked, Some(&signs));
    let mut hash: u64 = 0xCBF2_9CE4_8422_2325;
    for value in row {
        hash = (hash ^ u64::from((value * 1000.0).round() as i64 as u32)).wrapping_mul(0x0100_0000_01B3);
    }
    Schema {
        name: "request-row",
        columns: &[],
        parameters: vec![
            format!("fields={}", http_schema().hash()),
            format!("tags={}", ATTACK_TAGS.join(",")),
            format!("places={}", SIGN_PLACES.join(",")),
            format!("columns={FIELD_COLUMNS}+{}", ALL_COLUMNS - FIELD_COLUMNS),
            format!("probe={hash:016x}"),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_surest_field_is_told_after_lowering() {
        let (mut bad, mut odd) = ([0.0; FIELD_CLASSES], [0.0; FIELD_CLASSES]);
        (bad[0], bad[1], odd[0], odd[2]) = (0.01, 0.99, 0.2, 0.8);
        let shape = std::array::from_fn(|n| SHAPE_ID_BASE + 8 * n as u16 + if n == 4 { 3 } else { 2 });
        let field = |probabilities, lowered_by| AskedField { excess: 1.0, probabilities, shape, lowered_by };
        let kinds = [f32::NEG_INFINITY; KINDS];
        let mut row = Vec::new();
        assert_eq!(request_row(&mut row, &kinds, &[field(&odd, 0.0), field(&bad, 0.0)], None), Some(1));
        assert_eq!(row.len(), FIELD_COLUMNS);
        assert!((row[KINDS] - 99.0_f32.ln()).abs() < 1e-3 && (row[KINDS + 1] - 4.0_f32.ln()).abs() < 1e-3);
        assert_eq!(row[KINDS + 4..KINDS + 6], [0.01, 0.99]);
        assert_eq!(row[FIELD_COLUMNS - 8..], [2.0, 2.0, 2.0, 2.0, 1.0, 1.0, 2.0, 2.0]);
        row.clear();
        assert_eq!(request_row(&mut row, &kinds, &[field(&odd, 0.0), field(&bad, 8.0)], None), Some(0));
        row.clear();
        assert_eq!(request_row(&mut row, &kinds, &[], Some(&RuleSigns::default())), None);
        assert_eq!((row.len(), row[0]), (ALL_COLUMNS, EXCESS_MIN));
    }
}
