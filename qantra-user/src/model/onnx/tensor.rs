//! Enters: a tensor of an ONNX file. Leaves: how many elements it has, once its data is as long as its shape says. It must
//! never believe a shape: dimensions of a few bytes can claim any amount of memory.

use super::{
    OnnxLimits, OnnxRefusal, at_most, forbidden, malformed, shown,
    wire::{Fields, Malformed},
    wrong,
};

/// A tensor that may be used.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tensor<'a> {
    pub(super) name: &'a str,
    pub(super) elements: u64,
}

/// Bytes of an element in `raw_data`, by ONNX's number of the type: f32, u8, i8, i32, i64, bool and f64. Others, text
/// above all, are in no model here.
const fn width(data_type: u64) -> Option<u64> {
    match data_type {
        2 | 3 | 9 => Some(1),
        1 | 6 => Some(4),
        7 | 11 => Some(8),
        _ => None,
    }
}

pub(super) fn check<'a>(message: &'a [u8], limits: &OnnxLimits) -> Result<Tensor<'a>, OnnxRefusal> {
    let (mut name, mut data_type, mut dims, mut product) = ("", 0, 0_u64, 1_u64);
    let (mut raw, mut listed) = (None, 0_u64);
    let bad = |Malformed| malformed("tensor");
    for field in Fields::of(message) {
        let (number, value) = field.map_err(bad)?;
        match number {
            1 => {
                for dim in value.varints().map_err(bad)? {
                    dims += 1;
                    at_most(|| "tensor".into(), "dimensions", dims, limits.parts as u64)?;
                    // A negative number is a large one here.
                    product = product.saturating_mul(dim.map_err(bad)?);
                }
            }
            2 => data_type = value.varint().map_err(bad)?,
            4 => listed += value.fixed_count(4).map_err(bad)? as u64,
            5 | 7 => {
                for number in value.varints().map_err(bad)? {
                    number.map_err(bad)?;
                    listed += 1;
                }
            }
            10 => listed += value.fixed_count(8).map_err(bad)? as u64,
            8 => name = value.text().map_err(bad)?,
            9 if raw.is_some() => return Err(wrong("tensor", "has its data twice")),
            9 => raw = Some(value.bytes().map_err(bad)?.len() as u64),
            12 | 16 => {}
            13 => return Err(forbidden(place(name), "data outside the file is")),
            14 if value.varint().map_err(bad)? == 0 => {}
            14 => return Err(forbidden(place(name), "data outside the file is")),
            other => return Err(forbidden(place(name), format!("field {other} of a tensor is"))),
        }
    }
    at_most(|| place(name), "bytes of name", name.len() as u64, limits.name_bytes as u64)?;
    at_most(|| place(name), "elements", product, limits.tensor_elements)?;
    let Some(width) = width(data_type) else {
        return Err(forbidden(place(name), format!("elements of type {data_type} are")));
    };
    let found = match raw {
        Some(_) if listed > 0 => return Err(wrong(place(name), "has its data twice")),
        Some(bytes) if bytes.is_multiple_of(width) => bytes / width,
        Some(bytes) => return Err(wrong(place(name), format!("{bytes} bytes are no whole elements of {width}"))),
        None => listed,
    };
    if found != product {
        return Err(wrong(place(name), format!("its shape says {product} elements, its data holds {found}")));
    }
    Ok(Tensor { name, elements: product })
}

fn place(name: &str) -> String {
    format!("tensor `{}`", shown(name))
}
