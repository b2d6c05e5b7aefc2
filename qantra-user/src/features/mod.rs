//! Enters: decoded fields and behaviour counters. Leaves: feature vectors with a named, hashed schema. Pure: training
//! and serving run this very code, so a feature is never computed twice in two ways.

pub mod http;
pub mod request;
mod schema;
pub mod source;

pub use schema::Schema;
